"""A settings file, read and parsed; where in it something stands; which of its tables somebody uses."""

import re
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from demyjpy.errors import SettingsError
from demyjpy.settings.annotations import noun_of
from demyjpy.settings.key_lines import Place, line_of, lines_of
from demyjpy.settings.signatures import spell_key
from demyjpy.shown import safe

LARGEST: Final = 1 << 20
"""Bytes of a settings file."""

_WHERE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@frozen
class SettingsFile:
    """What a file says: ``tables`` by name, and the ``text`` that they were parsed from."""

    path: str
    text: str = field(repr=False)
    tables: Mapping[str, Any] = field(repr=False)

    def where(self, *place: str | int) -> str:
        """The path of the file, with the line of what is there, or of what is around it."""
        return self.places([place])[0]

    def places(self, wanted: Collection[Place]) -> list[str]:
        """The same for several."""
        lines = lines_of(self.text)
        found = [line_of(lines, place) for place in wanted]
        return [self.path if line is None else f"{self.path}:{line}" for line in found]

    def table(self, name: str) -> Mapping[str, Any]:
        """A table; empty if it is not there. `SettingsError` if what has its name is none."""
        found = self.tables.get(name, {})
        if not isinstance(found, dict):
            raise SettingsError(
                f"{self.where(name)}: expected the table [{name}], got {noun_of(found)} of that name"
            )
        return found

    def refuse_others(self, used: Collection[str], advice: str = "") -> None:
        """`SettingsError` for what is in no table that is used: a name with a mistake in it, perhaps.

        ``advice`` says how a filter would take settings.
        """
        for name, found in self.tables.items():
            if name in used:
                continue
            got = f"the table [{spell_key(name)}]"
            if not isinstance(found, dict):
                got = f"{noun_of(found)}, {spell_key(name)}, outside of them"
            near = get_close_matches(name[:100], used, 1)
            meant = f"; did you mean [{near[0]}]?" if near else ""
            meant += f"; {advice}" if advice else ""
            expected = f"only tables of the filters ({', '.join(f'[{one}]' for one in used)})"
            if not used:
                expected = "no settings, because none of the filters takes any"
            raise SettingsError(f"{self.where(name)}: expected {expected}, got {got}{meant}")


def read_settings(path: str | Path) -> SettingsFile:
    """Read a file; `SettingsError` says what is wrong with it, and on which line."""
    shown = safe(str(path))
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # a name with NUL in it
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"expected settings in {shown}, got: {why}") from error
    if len(data) > LARGEST:
        raise SettingsError(f"expected settings in {shown}, at most {LARGEST} bytes, got more")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{shown}:{line}: expected UTF-8, got the byte 0x{data[error.start]:02x}"
        ) from None
    return SettingsFile(shown, text, _parsed(shown, text))


def _parsed(shown: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError(
            f"expected settings in {shown}, got lists in lists, too deep to read"
        ) from None
    except ValueError as error:  # TOMLDecodeError is one, and so is what int says of too many digits
        what = str(error)
    found = _WHERE.search(what)
    place = f"{shown}:{found[1] or text.count(chr(10)) + 1}" if found else shown
    column = f" (column {found[2]})" if found and found[2] else ""
    raise SettingsError(f"{place}: expected TOML, got: {safe(_WHERE.sub('', what))}{column}")
