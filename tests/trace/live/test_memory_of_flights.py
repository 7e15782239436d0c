"""What a flight recorder holds in memory: no word of a mail that its file would not hold."""

import gc
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

from demyjpy import actions as act
from demyjpy import define_event_handlers, reject, send_action
from demyjpy.engine.tape import Stretch
from demyjpy.trace import FlightRecorder, Triggers
from tests.engine.harness import DATA, EOH, EOM, QUIT, join, macros, offer, packet
from tests.engine.test_tape import play
from tests.trace.live.test_tapes import PRIVACIES, of

SECRETS = {
    "helo": b"heloword",
    "unknown": b"unknownword",
    "parameter": b"paramword",
    "macro": b"macroword",
    "field name": b"fieldname",
    "field": b"fieldvalue",
    "redacted": b"subjectvalue",
    "body": b"bodyword",
    "last chunk": b"lastword",
    "address": b"someaddress",
    "edit": b"editvalue",
    "new body": b"newbodyword",
    "reply": b"replyword",
    "reason": b"reasonword",
    "error": b"errorword",
    "context": b"contextword",
    "garbage": b"garbageword",
    "junk": b"junkword",
}

SECRET_SESSION = (
    offer(),
    packet("C", b"client.example\x004\x00\x19192.0.2.1\0garbageword\0"),
    packet("H", b"heloword\0garbageword"),
    packet("U", b"unknownword x\0"),
    macros("M", i="Q1", mail_addr="someaddress@example.org", x="macroword"),
    packet("M", b"<someaddress@example.org>\0X=paramword\0"),
    packet("R", b"<someaddress@example.net>\0Y=paramword\0"),
    packet("T", b"garbageword"),
    packet("L", b"X-fieldname\0 fieldvalue\0garbageword"),
    packet("L", b"Subject\0 subjectvalue\0"),
    EOH,
    packet("B", b"bodyword\r\n"),
    packet("E", b"lastword"),
)
BROKEN = (DATA, packet("L", b"garbageword"), QUIT)


def revealing() -> Any:
    """A filter that puts all that it is told into all that it does."""
    handlers = define_event_handlers(
        {"define_macros": lambda event, ctx: ctx},
        actions={"add_header", "change_body", "add_recipient", "quarantine", "change_sender"},
        state={"seen": ()},
    )

    def see(event: Any, ctx: Any) -> Any:
        return ctx.set("seen", (*ctx["seen"], "contextword", event))

    for name in ("connect", "hello", "mail", "recipient", "data", "header", "end_of_headers", "body"):
        handlers.add(name, see)

    @handlers.unknown
    def unknown(event: Any, ctx: Any) -> Any:
        return reject(see(event, ctx), "5.7.1", "replyword")

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return send_action(
            see(event, ctx),
            act.AddHeader("X-New", "editvalue"),
            act.ReplaceBody(b"newbodyword"),
            act.AddRecipient("someaddress@x"),
            act.ChangeSender("someaddress@x", "RET=HDRS"),
            act.Quarantine("reasonword"),
        )

    @handlers.abort
    def abort(event: Any, ctx: Any) -> Any:
        raise ValueError("errorword")

    @handlers.quit
    def junk(event: Any, ctx: Any) -> Any:
        return ctx.set("queue", ("junkword",))

    return handlers


def held_by(root: Any) -> bytes:
    """All the bytes and texts that can be reached from here, but for those of code."""
    found, seen, todo = [], set(), [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(one))
        if isinstance(one, str):
            found.append(one.encode("utf-8", "surrogateescape"))
        elif isinstance(one, bytes):
            found.append(one)
        else:
            todo += gc.get_referents(one)
    return b"\n".join(found)


def secrets_in(data: bytes) -> set[str]:
    return {name for name, word in SECRETS.items() if word in data}


KEPT_BY = {
    "redacted": SECRETS.keys()
    - {"parameter", "redacted", "address", "reply", "error", "context", "garbage"},
    "headers": SECRETS.keys()
    - {"parameter", "body", "last chunk", "address", "new body", "reply", "error", "context", "garbage"},
    "plain headers": SECRETS.keys() - {"body", "last chunk", "new body", "error", "context", "garbage"},
    "envelope": {"address"},
    "hashed envelope": set(),
}


@pytest.mark.parametrize("name", KEPT_BY)
@pytest.mark.parametrize("keeps_bodies", [True, False])
def test_the_memory_holds_no_more_than_the_file(name: str, keeps_bodies: bool, tmp_path: Path) -> None:
    """Of a message that is open, of one that has ended, of packets that cannot be read."""
    privacy = PRIVACIES[name]
    quiet = Triggers(errors=False, slower_than=None)
    recorder = FlightRecorder(tmp_path, privacy=privacy, triggers=quiet)
    held: set[str] = set()

    def read(stretch: Stretch) -> None:
        recorder.read(stretch)
        del stretch
        held.update(secrets_in(held_by(recorder)))

    for end in (
        BROKEN,
        (EOM, QUIT),
        (packet("M", b"garbageword"),),
        (packet("D", b"Mgarbageword"), QUIT),
    ):
        for share in (0, 1 << 16):
            chunks = [join([one]) for one in (*SECRET_SESSION, *SECRET_SESSION[4:8], *end)]
            keeps = keeps_bodies or recorder.keeps_bodies
            play(of(revealing()), chunks, read, share=share, keeps_bodies=keeps)
    path = recorder.dump()
    assert path is not None
    assert held == secrets_in(path.read_bytes())
    assert held == KEPT_BY[name]


def test_what_all_would_hold_is_found() -> None:
    """Else the test above would find nothing anywhere."""
    stretches: list[Stretch] = []
    for end in ((EOM, QUIT), BROKEN):
        said = (*SECRET_SESSION, *SECRET_SESSION[4:8], *end)
        play(of(revealing()), [join(said)], stretches.append)
    assert secrets_in(held_by(stretches)) == SECRETS.keys()
