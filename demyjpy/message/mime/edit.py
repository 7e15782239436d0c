"""One part replaced, one part less, one part more. All other parts keep every byte."""

import re
from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from attrs import evolve, frozen

from demyjpy.errors import LocalProtocolError, describe
from demyjpy.message.content import Content, Patch, Patched
from demyjpy.message.fields import Fields, header_bytes, new_field, with_first_only, with_set
from demyjpy.message.mime.part import Part
from demyjpy.message.mime.scan import line_at
from demyjpy.message.mime.written import (
    collides,
    content_fields,
    encoded_content,
    encoded_in,
    with_charset,
    with_crlf,
    with_encoding,
)
from demyjpy.wire.fields import encode_text

_LAST_EMPTY: Final = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)\Z")
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


@frozen(eq=False)
class Entity:
    """The header and the body of a message."""

    fields: Fields
    content: Content


def replace_part(
    entity: Entity, part: Part, content: bytes | str, kind: str | None, file_name: str | None
) -> Entity:
    """With another content in a part."""
    _check_origin(entity, part)
    if not isinstance(content, bytes | str):
        raise LocalProtocolError(f"replace_part: expected bytes or text, got {describe(content)}")
    fields = part.fields if part.path else entity.fields
    if kind is not None:
        new, data, encoding = new_content(content, kind, file_name)
        return _written(entity, part, _with_content(fields, new), kind, data, encoding)
    if part.is_container or file_name is not None:
        reason = "file_name= is given" if file_name is not None else f"the part is {part.type}"
        raise LocalProtocolError(
            f"replace_part: {reason}, so say what the new content is, like type='text/plain'"
        )
    if isinstance(content, bytes):
        if content == part.content:
            return entity
        return _written(entity, part, fields, part.type, content, part.encoding)
    if content == part.text:
        return entity
    if not part.type.startswith("text/"):
        raise LocalProtocolError(
            f"replace_part: the part is {part.type}: give bytes, or say type='text/plain'"
        )
    text = with_crlf(content)
    coded = encoded_in(text, part.charset)
    if coded is None:
        fields, coded = with_charset(fields, "utf-8"), text.encode("utf-8", "replace")
    return _written(entity, part, fields, part.type, coded, part.encoding)


def drop_part(entity: Entity, part: Part) -> Entity:
    """Without a part; the last one of a multipart becomes an empty text."""
    _check_origin(entity, part)
    place, gone = part.place, _dropped(entity.content)
    if not any(one != place and one.line not in gone for one in part.siblings):
        return replace_part(entity, part, "", "text/plain", None)
    if part.is_open_end:  # there is no last delimiter, and what is before must end somewhere
        last = line_at(part.base, place.line)[0].rstrip(b" \t") + b"--"
        if place.end == place.next:
            last += b"\r\n"
        return _patched(entity, part, Patch(place.line, place.end, last, drops=True))
    return _patched(entity, part, Patch(place.line, place.next, b"", drops=True))


def attach(
    entity: Entity,
    parts: tuple[Part, ...],
    content: bytes | str,
    kind: str,
    file_name: str | None,
    disposition: str = "attachment",
) -> Entity:
    """With one more part at the end, in a new multipart/mixed if the message is none."""
    new, data, encoding = new_content(content, kind, file_name, disposition)
    root = parts[0]
    is_mixed = root.type == "multipart/mixed" and root.is_container and root.boundary is not None
    inner = encode_text(root.boundary) if is_mixed and root.boundary is not None else b""
    if is_mixed and not (kind.lower().startswith("message/") and collides(data, {inner})):
        raw = _new_part(new, data, encoding, kind, {inner})
        return evolve(entity, content=Patched(root.origin, root.base, (_at_end(parts, inner, raw),)))
    boundary = _new_boundary(entity.fields, root.base)
    raw = _new_part(new, data, encoding, kind, ())
    line = b"--" + boundary.encode()
    moved = header_bytes(one for one in entity.fields if one.key.startswith("content-"))
    size = len(root.base)
    patches = (
        Patch(0, 0, line + b"\r\n" + moved + b"\r\n"),
        Patch(size, size, _last(parts) + b"\r\n".join([line, raw, line + b"--", b""])),
    )
    fields = with_first_only(entity.fields, {"content-type"})
    fields = tuple(
        one for one in fields if one.key == "content-type" or not one.key.startswith("content-")
    )
    fields = with_set(fields, "Content-Type", f'multipart/mixed; boundary="{boundary}"')
    return Entity(_with_version(fields), Patched(root.origin, root.base, patches))


def new_content(
    content: bytes | str, kind: str, file_name: str | None, disposition: str | None = None
) -> tuple[Fields, bytes, str]:
    """Header fields, data and the best transfer encoding of a new part."""
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise LocalProtocolError(
            f"expected type as two words with a slash, like 'text/plain', got {describe(kind)}"
        )
    name = kind.lower()
    if name.startswith("multipart/"):
        raise LocalProtocolError(
            "a new part cannot be a multipart: add its parts one by one, or a mail as message/rfc822"
        )
    if isinstance(content, str):
        charset = "utf-8" if name.startswith("text/") else None
        fields = content_fields(kind, file_name, charset, disposition)
        data = with_crlf(content).encode("utf-8", "replace")
    else:
        fields, data = content_fields(kind, file_name, None, disposition), content
    if name.startswith("message/"):  # which must not be encoded (RFC 2046, section 5.2.1)
        return fields, data, "7bit" if data.isascii() else "8bit"
    return fields, data, "7bit" if name.startswith("text/") else "base64"


# ------------------------------------------------------------------------------------- helpers
def put(entity: Entity, part: Part, fields: Fields, raw: bytes) -> Entity:
    """With this header and this encoded body in a part."""
    if not part.path:
        body = raw + b"\r\n" if raw and not raw.endswith(b"\r\n") else raw
        return Entity(_with_version(fields), body)
    place = part.place
    if raw and place.end == place.next and (part.is_inside or not raw.endswith(b"\r\n")):
        raw += b"\r\n"  # there was no line end that the next delimiter could begin with
    line, before = part.base[place.line : place.head], part.base[max(0, place.head - 4) : place.head]
    if place.head and not before.endswith((b"\r", b"\n")):
        line += b"\r\n"  # a delimiter was the end of the body
    if place.line == place.head > 0 and not _LAST_EMPTY.search(before):
        line += b"\r\n"  # the message around it had no line between header and body
    data = b"".join([line, header_bytes(fields), b"\r\n", raw])
    return _patched(entity, part, Patch(place.line, place.end, data))


def _written(
    entity: Entity, part: Part, fields: Fields, kind: str, data: bytes, encoding: str
) -> Entity:
    is_text = kind.lower().startswith("text/")
    encoding, raw = encoded_content(data, encoding, is_text=is_text, boundaries=part.boundaries)
    return put(entity, part, with_encoding(fields, encoding), raw)


def _with_content(fields: Fields, new: Fields) -> Fields:
    """With new ``Content-`` fields in place of the old ones."""
    keys = {"content-transfer-encoding", *(one.key for one in new)}
    fields = tuple(one for one in fields if one.key in keys or not one.key.startswith("content-"))
    fields = with_first_only(fields, keys)
    for one in new:
        fields = with_set(fields, one.name, one.value)
    return fields


def _with_version(fields: Fields) -> Fields:
    if any(one.key == "mime-version" for one in fields):
        return fields
    if not any(one.key.startswith("content-") for one in fields):
        return fields
    return (*fields, new_field("MIME-Version", "1.0"))


def _new_boundary(fields: Fields, base: bytes) -> str:
    """A boundary that is not in the message, because it is made from all of it."""
    found = blake2b(header_bytes(fields), digest_size=16)
    found.update(base)
    return f"=_{found.hexdigest()}"


def _new_part(
    fields: Fields, data: bytes, encoding: str, kind: str, boundaries: Collection[bytes]
) -> bytes:
    """Header and body of a new part."""
    is_text = kind.lower().startswith("text/")
    encoding, raw = encoded_content(data, encoding, is_text=is_text, boundaries=boundaries)
    return header_bytes(with_encoding(fields, encoding)) + b"\r\n" + raw


def _at_end(parts: tuple[Part, ...], boundary: bytes, raw: bytes) -> Patch:
    """A part more at the end of the message, which is a multipart with this boundary."""
    root, line = parts[0], b"--" + boundary
    if root.close is not None:
        return Patch(root.close, root.close, line + b"\r\n" + raw + b"\r\n")
    size = len(root.base)
    return Patch(size, size, _last(parts) + b"\r\n".join([line, raw, line + b"--", b""]))


def _last(parts: tuple[Part, ...]) -> bytes:
    """The line end before a delimiter behind all of the body.

    It is there already if a delimiter was missing: see `demyjpy.message.mime.scan`.
    """
    size = len(parts[0].base)
    is_there = any(one.place.end < size == one.place.next for one in parts)
    return b"" if is_there else b"\r\n"


def _check_origin(entity: Entity, part: Part) -> None:
    content = entity.content
    if content is part.origin or (isinstance(content, Patched) and content.origin is part.origin):
        return
    raise LocalProtocolError(
        "the part is of another message, or of this one before its body was changed by something else "
        "than replace_part and drop_part: call parts() again"
    )


def _dropped(content: Content) -> set[int]:
    """Where the parts began that were dropped."""
    return {one.start for one in content.patches if one.drops} if isinstance(content, Patched) else set()


def _patched(entity: Entity, part: Part, patch: Patch) -> Entity:
    content = entity.content
    if not isinstance(content, Patched) or content is part.origin:
        content = Patched(part.origin, part.base)
    return evolve(entity, content=content.with_patch(patch))
