"""What the tests of callbacks share: a class that notes what it gets, and sessions."""

from typing import Any

from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import Postfix, run, session

ONE = session(client="192.0.2.1", name="client.example").mail(
    "ann@example.org", SIZE="10", SMTPUTF8=None
)
ONE = ONE.rcpt("bob@example.net", NOTIFY="NEVER")
LETTER = "Subject: hi\nX-Two:  two\n\nhello\n"


class Logging(Milter.Base):
    """Each callback notes what it got; a function may say what it returns."""

    seen: list[Any]

    def note(self, *said: Any) -> int:
        self.seen.append(said)
        return Milter.CONTINUE

    def connect(self, *given):
        return self.note("connect", *given)

    def hello(self, *given):
        return self.note("hello", *given)

    def envfrom(self, *given):
        return self.note("envfrom", *given)

    def envrcpt(self, *given):
        return self.note("envrcpt", *given)

    def data(self):
        return self.note("data")

    def header(self, *given):
        return self.note("header", *given)

    def eoh(self):
        return self.note("eoh")

    def body(self, chunk):
        return self.note("body", chunk)

    def unknown(self, command):
        return self.note("unknown", command)

    def eom(self):
        return self.note("eom")

    def abort(self):
        return self.note("abort")

    def close(self):
        return self.note("close")


def seen_in(script: Any, klass: type[Logging] = Logging, mta: Any = None) -> list[Any]:
    """What a class saw of a session, but for what it saw of the client."""
    ours = type(klass.__name__, (klass,), {"seen": []})
    run(filter_of(ours), script, mta=mta or Postfix())
    return ours.seen[2:] if "connect" in ours.seen[0] else ours.seen


def verdict_of(callback: str, said: Any, script: Any = None) -> Any:
    """What comes of a session if one callback returns this, or what a function of the instance gives."""

    def method(self: Any, *given: Any) -> Any:
        return said(self) if callable(said) else said

    klass = type("Saying", (Milter.Base,), {callback: method})
    return run(filter_of(klass), script or ONE.message(LETTER)).messages[0].verdict
