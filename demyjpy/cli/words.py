"""How the command line's words are read: what is no number, no address, no macro is said in one line."""

import argparse
import re
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any, Final, NoReturn, TypeVar

from demyjpy.drivers.address import http_address, parse_address
from demyjpy.errors import AddressError
from demyjpy.mta.path import split_path

T = TypeVar("T")

_YEAR: Final = 366 * 86400.0


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that says what is wrong in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What a command does not know is its own error, so that it names the command's help."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [one for one in self._option_string_actions if one.startswith("--")]
            given = [one.partition("=")[0] for one in unknown if one.startswith("--")]
            near = [two for one in given for two in get_close_matches(one, options, 1)]
            meant = f"; did you mean {' '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def number(read: Callable[[str], T], expected: str, is_good: Callable[[T], bool]) -> Callable[[str], T]:
    """Reads an argument, or says what was expected."""

    def parse(text: str) -> T:
        try:
            value = read(text)
        except ValueError:
            pass
        else:
            if is_good(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


COUNT: Final = number(int, "a whole number from 1", lambda count: count >= 1)
SECONDS: Final = number(
    float, "a number of seconds above 0, at most a year's", lambda time: 0 < time <= _YEAR
)
SECONDS_OR_0: Final = number(
    float, "a number of seconds from 0, at most a year's", lambda time: 0 <= time <= _YEAR
)


def address(text: str) -> str:
    """Where a milter or server listens."""
    try:
        parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def http(text: str) -> str:
    """Where figures are served: ``[HOST]:PORT``."""
    try:
        http_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def network(text: str) -> str:
    """A network, or a single address."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a network such as 192.0.2.0/24: {error}") from None


def reachable(text: str) -> str:
    """Where something else listens."""
    if parse_address(address(text)).kind in ("fd", "systemd"):
        raise argparse.ArgumentTypeError(f"expected an address to connect to, got {text!r}")
    return text


def milter(text: str) -> tuple[str, str]:
    """``ADDRESS`` or ``NAME=ADDRESS``: the name under which a milter is shown, and where it listens."""
    found = re.fullmatch(r"([\w.-]+)=(.*)", text)
    return (found[1], reachable(found[2])) if found else (text, reachable(text))


def macro(text: str) -> tuple[str, str]:
    """``NAME=VALUE``; the name may be in braces."""
    name, equals, value = text.partition("=")
    name = name.removeprefix("{").removesuffix("}")
    if not name or not equals or "\0" in value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def client(text: str) -> tuple[str, str | None]:
    """``ADDRESS``, ``NAME[ADDRESS]`` or ``local``: the client's address, and its verified name."""
    if text == "local":
        return "", None
    found = re.fullmatch(r"([^\[\]]*)\[([^\[\]]*)\]", text)
    name, where = (found[1] or None, found[2]) if found else (None, text)
    try:
        return str(ip_address(where)), name
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected an IP address, NAME[ADDRESS] or local, got {text!r}"
        ) from None


def path(text: str) -> str:
    """An envelope address, which ESMTP parameters may follow."""
    if split_path(text) is None or "\0" in text:
        raise argparse.ArgumentTypeError(
            f"expected an address such as a@example.org, <> or '<a@example.org> SIZE=100', got {text!r}"
        )
    return text
