"""Which parts a body has, found in one walk over its bytes.

The rules are those of the parser of Python's standard library (`email.feedparser`), so that a filter
sees what most programs in Python see: which lines are a header, which line ends a part, what a missing
boundary means. Unlike there, no part is copied, the walk has limits, and it takes linear time.
"""

import re
from typing import Final

from attrs import define, evolve, field, frozen

from demyjpy.message.content import Content, read_all
from demyjpy.message.fields import Field, Fields
from demyjpy.message.mime.part import Part, Place, type_of
from demyjpy.wire.fields import decode_text, encode_text

MOST: Final = 1_000
DEPTH: Final = 30
DEEPEST: Final = 100
"""No walk goes deeper, whatever is asked for: each level is a call within a call."""
UNPACKED: Final = 100_000_000

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_HEADER: Final = re.compile(rb"From |[!-9;-~]*:|[\t ]")


@frozen
class FoundHeader:
    """The fields of a header, where it ends, and what is wrong with it."""

    fields: Fields
    end: int
    defects: tuple[str, ...] = ()


@frozen
class Hit:
    """A delimiter line: where it begins and ends, of which open multipart, and if it is the last one."""

    line: int
    end: int
    level: int
    closes: bool


def scan(fields: Fields, content: Content, most: int, depth: int, unpacked: int) -> tuple[Part, ...]:
    """The parts of a message, itself first, in the order in which they begin."""
    base = read_all(content)
    walk = _Walk(base, most, min(depth, DEEPEST), content)
    walk.message(fields)
    found: list[Part] = []
    left, is_cut = unpacked, walk.is_cut
    for part in walk.parts:
        left -= 0 if part.is_container and part.type.startswith("multipart/") else part.size
        if found and left < 0:
            is_cut = True
            break
        found.append(part)
    if is_cut:
        found[0] = evolve(found[0], defects=(*found[0].defects, "PartsNotSeen"))
    return tuple(found)


def read_header(base: bytes, start: int, walk: "_Walk | None" = None) -> FoundHeader:
    """The header that begins at an offset; in a walk it ends at a delimiter line, too."""
    lines: list[tuple[int, bytes]] = []
    defects: list[str] = []
    at = start
    while at < len(base):
        if walk is not None and walk.hit_at(at) is not None:
            break
        line, behind = line_at(base, at)
        if not line:
            at = behind
            break
        if not _HEADER.match(line):
            defects.append("MissingHeaderBodySeparator")
            break
        lines.append((at, line))
        at = behind
    if len(lines) > 1 and lines[-1][1].startswith(b"From "):  # rather the first line of the body
        at = lines.pop()[0]
    return FoundHeader(_fields_of(lines, defects), at, tuple(defects))


def line_at(base: bytes, at: int) -> tuple[bytes, int]:
    """The line that begins at an offset, without its end, and where the next one begins."""
    found = _LINE_END.search(base, at)
    return (base[at:], len(base)) if found is None else (base[at : found.start()], found.end())


def _fields_of(lines: list[tuple[int, bytes]], defects: list[str]) -> Fields:
    """The fields that lines make."""
    found: list[tuple[bytes, list[bytes]]] = []
    last: list[bytes] = []  # the lines of the field that a folded line belongs to
    for number, (_, line) in enumerate(lines):
        if line[:1] in (b" ", b"\t"):
            if last:
                last.append(line)
            else:
                defects.append("FirstHeaderLineIsContinuation")
            continue
        name, _, raw = line.partition(b":")
        last = []
        if line.startswith(b"From "):
            if number:
                defects.append("MisplacedEnvelopeHeader")
        elif name:
            last = [raw]
            found.append((name, last))
        else:
            defects.append("InvalidHeader")
    return tuple(Field(decode_text(name), decode_text(b"\n".join(raw))) for name, raw in found)


@define(eq=False)
class _Walk:
    """One walk over a body: what it has found, and the multiparts that it is in."""

    base: bytes
    most: int
    deepest: int
    origin: Content
    parts: list[Part] = field(factory=list)
    open: dict[bytes, int] = field(factory=dict)
    levels: int = 0
    is_cut: bool = False
    next_lf: int = -1
    next_cr: int = -1

    # ------------------------------------------------------------------------- delimiter lines
    def hit_at(self, at: int) -> Hit | None:
        """The delimiter line that begins here. Of two that it may be, the outer one counts."""
        if not self.open or self.base[at : at + 2] != b"--":
            return None
        line, end = line_at(self.base, at)
        text = line[2:].rstrip(b" \t")
        opens = self.open.get(text)
        closes = self.open.get(text[:-2]) if text.endswith(b"--") else None
        if opens is not None and (closes is None or opens < closes):
            return Hit(at, end, opens, closes=False)
        return None if closes is None else Hit(at, end, closes, closes=True)

    def next_hit(self, at: int) -> Hit | None:
        """The first delimiter line from here, which is the beginning of a line."""
        if not self.open:
            return None
        hit = self.hit_at(at)
        while hit is None:
            at = self._next_dashes(at)
            if at < 0:
                return None
            hit = self.hit_at(at)
        return hit

    def _next_dashes(self, at: int) -> int:
        """The next line after this one that begins with two hyphens; -1 if there is none."""
        end = len(self.base)
        if self.next_lf <= at:
            found = self.base.find(b"\n--", at)
            self.next_lf = end if found < 0 else found + 1
        if self.next_cr <= at:
            found = self.base.find(b"\r--", at)
            self.next_cr = end if found < 0 else found + 1
        first = min(self.next_lf, self.next_cr)
        return -1 if first >= end else first

    def _before(self, hit: Hit | None, least: int) -> int:
        """The end of a part that ends here: the line end before a delimiter belongs to that.

        So does the last one of the body if a delimiter should have followed.
        """
        if not self.levels:
            return len(self.base)
        at = len(self.base) if hit is None else hit.line
        last = self.base[at - 2 : at]
        size = 2 if last == b"\r\n" else last.endswith((b"\r", b"\n"))
        return max(least, at - size)

    # ------------------------------------------------------------------------------------ parts
    def message(self, fields: Fields) -> None:
        """All parts of a message with this header."""
        place = Place(0, 0, 0, 0, len(self.base))
        self._part(FoundHeader(fields, 0), (), "text/plain", place)

    def _child(self, path: tuple[int, ...], default: str, line: int, head: int) -> Hit | None:
        header = read_header(self.base, head, self)
        return self._part(header, path, default, Place(line, head, header.end, header.end, header.end))

    def _part(
        self, header: FoundHeader, path: tuple[int, ...], default: str, place: Place
    ) -> Hit | None:
        """A part and all in it; gives the delimiter line that ended it."""
        kind, boundary = type_of(header.fields, default)
        part = Part(
            fields=header.fields,
            path=path,
            type=kind,
            defects=header.defects,
            boundary=boundary,
            place=place,
            is_inside=self.levels > 0,
            boundaries=frozenset(self.open),
            origin=self.origin,
            base=self.base,
        )
        at = len(self.parts)
        self.parts.append(part)
        is_deep = len(path) >= self.deepest
        is_message = kind.startswith("message/") and kind != "message/delivery-status"
        is_multipart = kind.startswith("multipart/")
        if (is_message or is_multipart) and (is_deep or len(self.parts) >= self.most):
            self.is_cut = True
            hit = self.next_hit(place.body)
        elif is_message:
            part = evolve(part, is_container=True)
            hit = self._child((*path, 1), "text/plain", place.body, place.body)
        elif is_multipart and boundary is not None:
            part, hit = self._multipart(part, boundary, kind == "multipart/digest")
        else:
            if is_multipart:
                part = evolve(part, defects=(*part.defects, "NoBoundaryInMultipart"))
            hit = self.next_hit(place.body)
        end = self._before(hit, place.body)
        behind = len(self.base) if hit is None else hit.line
        self.parts[at] = evolve(part, place=evolve(place, end=end, next=behind))
        return hit

    def _multipart(self, part: Part, boundary: str, is_digest: bool) -> tuple[Part, Hit | None]:
        """A multipart with what is known of it after its parts, and the line that ended it."""
        key, level = encode_text(boundary), self.levels
        is_new = key not in self.open
        if is_new:
            self.open[key] = level
        self.levels += 1
        hit = self.next_hit(part.place.body)
        defects = [*part.defects]
        if hit is None or hit.level != level or hit.closes:
            defects.append("StartBoundaryNotFound")
            is_container = False
        else:
            is_container = True
            hit = self._children(part, hit, level, "message/rfc822" if is_digest else "text/plain")
        if is_new:
            del self.open[key]
        self.levels -= 1
        close = None
        if hit is not None and hit.level == level:
            close = hit.line
            hit = self.next_hit(hit.end)  # behind the last delimiter, there is nothing of it
        elif is_container:
            defects.append("CloseBoundaryNotFound")
        return evolve(part, is_container=is_container, defects=tuple(defects), close=close), hit

    def _children(self, part: Part, first: Hit, level: int, default: str) -> Hit | None:
        """The parts of a multipart; gives the line that ended the last: its last one, or another's."""
        hit: Hit | None = first
        ats = []
        while hit is not None and hit.level == level and not hit.closes:
            if len(self.parts) >= self.most:
                self.is_cut = True
                hit = self._skip(hit, level)
                break
            line, head = hit.line, hit.end
            while (more := self.hit_at(head)) is not None and more.level == level:
                head = more.end
            ats.append(len(self.parts))
            hit = self._child((*part.path, len(ats)), default, line, head)
        siblings = tuple(self.parts[at].place for at in ats)
        for at in ats:
            self.parts[at] = evolve(self.parts[at], siblings=siblings)
        if hit is None or hit.level != level:
            self.parts[ats[-1]] = evolve(self.parts[ats[-1]], is_open_end=True)
        return hit

    def _skip(self, hit: Hit | None, level: int) -> Hit | None:
        """Over the parts that are too many."""
        while hit is not None and hit.level == level and not hit.closes:
            hit = self.next_hit(hit.end)
        return hit
