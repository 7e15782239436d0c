"""The sessions that every filter meets sooner or later: tried first, before those made up by chance."""

from collections.abc import Iterator, Sequence
from typing import Final

from demyjpy.mta import client_steps
from demyjpy.testing.script import Script, session
from demyjpy.testing.strategies.content import (
    BREAKS,
    LINES,
    PARTS,
    VALUES,
    header_names,
    multipart,
)
from demyjpy.testing.strategies.sessions import NAMES, known_addresses, known_clients
from demyjpy.testing.strategies.trial import Example
from demyjpy.wire.codes import CHUNK_SIZE
from demyjpy.wire.fields import encode_text

_PLAIN: Final = b"Subject: hello\r\n\r\nhello\r\n"


def classics(words: Sequence[str] = ()) -> Iterator[Example]:
    """Plain mail, two at once, given-up mail, RSET, each kind of client, address, field and body."""
    for script in (*_courses(), *_clients(words), *_envelopes(words)):
        yield Example(script)
    for content in (*_headers(words), *_bodies(words)):
        yield Example(_letter(content))


def _letter(content: bytes = _PLAIN, script: Script | None = None) -> Script:
    begun = session() if script is None else script
    return begun.mail("alice@example.org").rcpt("bob@example.net").message(content)


def _courses() -> Iterator[Script]:
    """How a session may go."""
    begun = session().mail("alice@example.org").rcpt("bob@example.net")
    yield _letter()
    yield _letter(script=_letter(b"Subject: first\r\n\r\nfirst\r\n"))
    yield _letter(script=begun.rset().rset())
    yield _letter(script=begun.ehlo())
    yield _letter(script=session().command("XYZZY"))
    yield _letter(script=session().starttls().ehlo().auth("alice"))
    yield begun.rcpt("postmaster", refused="5.1.1 User unknown").message(_PLAIN)
    yield begun.drop()
    yield _letter().rset().drop()


def _clients(words: Sequence[str]) -> Iterator[Script]:
    """Who may call."""
    for client in known_clients(words):
        yield _letter(script=Script(()).then(client, client_steps.Ehlo()))
    for name in NAMES:
        yield _letter(script=session(helo=name))
    yield _letter(script=session(helo=None))


def _envelopes(words: Sequence[str]) -> Iterator[Script]:
    """From whom, and to whom."""
    for address in known_addresses(words):
        begun = session().mail(address, SMTPUTF8=None).rcpt(address)
        yield begun.rcpt("bob@example.net").message(_PLAIN)
    yield session().mail("", SIZE="100").rcpt("bob@example.net", NOTIFY="NEVER").message(_PLAIN)


def _headers(words: Sequence[str]) -> Iterator[bytes]:
    """Each value in each field, plain and folded."""
    yield b"\r\n"
    yield b"\r\nhello\r\n"
    values = [f" {value}" for value in (*VALUES, *words)]
    values += [f" hello{between}hello" for between in BREAKS]
    for value in values:
        yield encode_text("".join(f"{name}:{value}\r\n" for name in header_names(words))) + b"\r\n"
    names = header_names(words)
    several = (f"{name}: hello\r\n{name.upper()}:again\r\n{name}:\r\n" for name in names)
    yield encode_text("".join(several)) + b"\r\n"


def _bodies(words: Sequence[str]) -> Iterator[bytes]:
    """Every line in one body, and across the edges of the pieces in which bodies come."""
    lines = [*LINES, *map(encode_text, words)]
    yield b"\r\n" + b"\r\n".join(lines)
    yield b"Subject: hello\r\n" + multipart(PARTS)
    yield b"\r\n" + b"x" * CHUNK_SIZE
    for word in map(encode_text, words):
        yield b"\r\n" + b"x" * (CHUNK_SIZE - len(word) // 2) + word + b"\r\n"
