"""Addresses in header fields: read, compared and written (RFC 5322, RFC 6532, IDNA).

What is before the ``@`` is never changed: only the server of a domain knows what it means. Nothing here
raises because of a mail, and reading takes linear time.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from demyjpy.message.charsets import readable
from demyjpy.message.comments import end_of_comment
from demyjpy.message.text import cleaned, coded_words, decoded_text, encoded_text, folded
from demyjpy.texts import bare_address

_TOKEN: Final = re.compile(
    r'"(?>[^"\\]+|\\.?)*+"?|\[[^\]]*+\]?|[<>,;:()]|\\.?|[^\s"\[<>,;:()\\]+|\s+', re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_QUOTED: Final = re.compile(r'["\\]')
_BACKSLASHED: Final = r"\\\g<0>"
_LABEL: Final = 63


@frozen
class MailAddress:
    """An address in a header field: the name beside it, decoded, and the address as it stands there."""

    name: str
    address: str

    @property
    def local(self) -> str:
        """What is before the last ``@``."""
        return self.address.rpartition("@")[0] if "@" in self.address else self.address

    @property
    def domain(self) -> str:
        """The domain in ASCII and in lower case; empty if there is none."""
        return ascii_domain(self.address.rpartition("@")[2]) if "@" in self.address else ""

    @property
    def unicode_domain(self) -> str:
        """The domain in lower case for people, with the letters of its language."""
        return unicode_domain(self.domain)


def addresses_in(value: str) -> tuple[MailAddress, ...]:
    """The addresses in the value of a header field, those in groups included.

    Encoded words are decoded after the addresses are found, so that no name can pretend to be one.
    """
    return tuple(found for words in _split(value) if (found := _address_of(words)) is not None)


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same: the local part as it is, the domain in any spelling."""
    first, second = (MailAddress("", bare_address(address)) for address in (one, other))
    return (first.local, first.domain) == (second.local, second.domain)


def ascii_domain(domain: str) -> str:
    """A domain as it is in DNS: in lower case, labels with other letters as ``xn--``."""
    if domain.isascii():
        return domain.lower()
    text = unicodedata.normalize("NFKC", domain.lower()).replace("\u3002", ".")
    return ".".join(map(_ascii_label, text.split(".")))


def unicode_domain(domain: str) -> str:
    """The inverse of `ascii_domain`; a label that is not right stays as it is."""
    return ".".join(map(_unicode_label, domain.lower().split(".")))


def encoded_address_text(name: str, text: str, *, is_utf8: bool) -> str:
    """Addresses with names for people as the value of a field; a name is encoded if it has to be."""
    found = addresses_in(readable(text))
    if not any("@" in one.address for one in found):
        return encoded_text(name, text, is_utf8=is_utf8)
    words = []
    for at, one in enumerate(found):
        end = "," if at < len(found) - 1 else ""
        address = one.address if is_utf8 else _in_ascii(one)
        words += [
            *_phrase(one.name, is_utf8=is_utf8),
            f"<{address}>{end}" if one.name else address + end,
        ]
    return folded(name, words)


# ------------------------------------------------------------------------------------- reading
def _split(value: str) -> Iterator[list[str]]:
    """The tokens of each address: words, ``<``, what is in it, ``>``; comments begin with ``(``."""
    words: list[str] = []
    is_inside, at = False, 0
    while at < len(value):
        sign = next(_TOKEN.finditer(value, at))[0]
        at += len(sign)
        if sign == "(":
            end = end_of_comment(value, at)
            words.append(value[at - 1 : end])
            at = end
        elif is_inside or sign not in (",", ";", ":"):
            is_inside = sign == "<" or (is_inside and sign != ">")
            words.append(sign)
        else:
            if sign != ":" or any("@" in word for word in words):
                yield words
            words = []  # with a colon: the name of a group
    yield words


def _address_of(words: list[str]) -> MailAddress | None:
    comment = "".join(word[1:].removesuffix(")") for word in words if word[0] == "(")
    words = [word for word in words if word[0] != "("]
    if "<" not in words:
        address = "".join(word for word in words if not word.isspace())
        return MailAddress(_name_of(comment), cleaned(address)) if address else None
    at = words.index("<")
    end = words.index(">", at) if ">" in words[at:] else len(words)
    inside = "".join(word for word in words[at + 1 : end] if not word.isspace())
    if inside[:1] == "@" and ":" in inside:  # a route
        inside = inside.rpartition(":")[2]
    phrase = "".join(word[1:].removesuffix('"') if word[0] == '"' else word for word in words[:at])
    return MailAddress(_name_of(phrase or comment), cleaned(inside))


def _name_of(text: str) -> str:
    return decoded_text(_ESCAPED.sub(r"\1", text))


# ------------------------------------------------------------------------------------- writing
def _phrase(name: str, *, is_utf8: bool) -> list[str]:
    """The words of a name beside an address."""
    if not name:
        return []
    if is_utf8 or (name.isascii() and "=?" not in name):
        return [name if _ATOMS.fullmatch(name) else f'"{_QUOTED.sub(_BACKSLASHED, name)}"']
    return coded_words(name)


def _in_ascii(found: MailAddress) -> str:
    """An address as it may stand in a message without SMTPUTF8.

    If its local part has other letters, it can be a text for people only.
    """
    if found.address.isascii():
        return found.address
    if "@" in found.address and found.local.isascii():
        return f"{found.local}@{found.domain}"
    return " ".join(coded_words(found.address))


def _ascii_label(label: str) -> str:
    if label.isascii() or len(label) > _LABEL:
        return label
    return f"xn--{label.encode('punycode').decode()}"


def _unicode_label(label: str) -> str:
    if not label.startswith("xn--") or len(label) > _LABEL:
        return label
    try:
        found = label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return found if found.isprintable() and _ascii_label(found) == label else label
