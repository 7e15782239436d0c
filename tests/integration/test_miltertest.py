"""OpenDKIM's miltertest and our own client hear the same from the same filter."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy import running
from demyjpy.mta import client_steps
from demyjpy.mta.channel import Channel
from demyjpy.mta.profiles import OFFER, Postfix
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from demyjpy.wire.codes import ProtocolFlag
from tests.integration.fetch_milters import miltertest
from tests.integration.foreign import c_filter, need_milters, pymilter_filter
from tests.integration.milters import our_filter

pytestmark = need_milters()

CHUNK = 65_535
QUEUE_ID = "4D3E5F0001"


@frozen
class Case:
    """A session with one mail; ``ask`` is its X-Ask field, which the filters obey."""

    ask: str = ""
    host: str = "client.example"
    helo: str = "client.example"
    sender: str = "ann@example.org"
    recipients: tuple[str, ...] = ("bob@example.net",)
    headers: tuple[tuple[str, str], ...] = (("Subject", "hi"), ("X-Gone", "x"))
    body: bytes = b"hello\r\n"

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The header, with X-Ask."""
        return (*self.headers, *((("X-Ask", self.ask),) if self.ask else ()))


CASES = {
    "plain": Case(),
    "empty body": Case(body=b""),
    "no headers": Case(headers=()),
    "null sender": Case(sender=""),
    "8 bits": Case(headers=(("Subject", "für"),), body=b"\xff\xfe\x80\r\n"),
    "folded": Case(headers=(("Subject", "a\n b\n\tc"),)),
    "three recipients": Case(recipients=("bob@example.net", "bad@example.net", "dave@example.net")),
    "no good recipient": Case(recipients=("bad@example.net",)),
    "two chunks": Case(body=b"x" * 78 + b"\r\n" + b"0123456789abcdef\r\n" * 4000),
    **{
        ask: Case(ask)
        for ask in ("edit", "reject", "reply", "tempfail", "discard", "quarantine", "accept")
    },
}

# at steps where the filters over libmilter have no handler
OURS = {
    **{
        f"{word} at {place}": Case(**{place: f"{word}-here.example"})
        for word in ("reject", "tempfail", "reply", "accept")
        for place in ("host", "helo")
    },
    **{
        f"{word} at sender": Case(sender=f"{word}-here@example.org")
        for word in ("reject", "tempfail", "reply", "discard", "accept")
    },
    **{
        f"{word} at recipient": Case(recipients=("bob@example.net", f"{word}-here@example.org"))
        for word in ("tempfail", "reply", "discard", "accept")
    },
    **{
        f"{word} at header": Case(headers=(("Subject", f"{word}-here"), ("X-More", "x")))
        for word in ("reject", "tempfail", "reply", "discard", "accept")
    },
    **{f"{word} at end of headers": Case(f"{word}-at-eoh") for word in ("reject", "discard", "accept")},
    **{
        f"{word} at body": Case(body=f"{word}-here\r\n".encode() + b"0123456789abcdef\r\n" * 8000)
        for word in ("reject", "tempfail", "discard", "accept", "skip")
    },
}

LETTERS = {
    act.Continue: "c",
    act.Accept: "a",
    act.Reject: "r",
    act.TemporaryFailure: "t",
    act.Discard: "d",
    act.ReplyCode: "y",
    act.Skip: "s",
}
CHECKS = (
    "MT_HDRADD",
    "MT_HDRINSERT",
    "MT_HDRCHANGE",
    "MT_HDRDELETE",
    "MT_RCPTADD",
    "MT_RCPTDELETE",
    "MT_BODYCHANGE",
    "MT_QUARANTINE",
    "MT_SMTPREPLY",
)


@pytest.fixture(scope="module")
def milter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A filter that runs; its address."""
    directory = tmp_path_factory.mktemp("filter")
    path = f"unix:{directory / 'ours.sock'}"
    start = {
        "ours": lambda: running(our_filter.handlers, address=path),
        "ours, threads": lambda: running(our_filter.handlers, address=path, driver="threads"),
        "c": lambda: c_filter(directory),
        "pymilter": lambda: pymilter_filter(directory),
    }
    with start[request.param]() as address:
        yield address


def heard_by_us(address: str, case: Case) -> tuple[list[str], list[Any]]:
    """What our client heard, as lines such as ``mail c``, and the changes."""
    header = "".join(f"{name}: {value}\n" for name, value in case.fields)
    content = header.replace("\n", "\r\n").encode() + b"\r\n" + case.body
    script: list[client_steps.ClientStep] = [
        client_steps.Connect("192.0.2.1", case.host),
        client_steps.Ehlo(case.helo),
        client_steps.Mail(case.sender),
        *map(client_steps.Rcpt, case.recipients),
        client_steps.Data(content),
        client_steps.Quit(),
    ]
    # without leading space, for miltertest compares header values as they come
    offer = evolve(OFFER, protocol=OFFER.protocol & ~ProtocolFlag.HDR_LEADSPC)
    session = new_session(Postfix(offer=offer))
    lines, edits = [], []
    with Channel(address) as channel:
        for step in script:
            session, outcome = play(take_step(session, step), [channel])
            assert not outcome.failures
            for heard in outcome.heard:
                lines.append(f"{heard.event} {LETTERS[type(heard.answer.verdict)]}")
                edits += [*heard.answer.modifications]
                if isinstance(heard.answer.verdict, act.ReplyCode) and heard.event == "end_of_message":
                    edits.append(heard.answer.verdict)
    return lines[1:], edits


def quoted(value: str | bytes) -> str:
    """A string of Lua."""
    data = value if isinstance(value, bytes) else value.encode()
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


def check_of(edit: Any) -> tuple[str, ...]:
    """What miltertest calls a change, and what it should have seen."""
    match edit:
        case act.AddHeader():
            return "MT_HDRADD", quoted(edit.name), quoted(edit.value)
        case act.InsertHeader():
            return "MT_HDRINSERT", quoted(edit.name), quoted(edit.value), str(edit.index)
        case act.DeleteHeader() | act.ChangeHeader(value=""):
            return "MT_HDRDELETE", quoted(edit.name)
        case act.ChangeHeader():
            return "MT_HDRCHANGE", quoted(edit.name), quoted(edit.value)
        case act.AddRecipient():
            return "MT_RCPTADD", quoted(f"<{edit.address}>")
        case act.DeleteRecipient():
            return "MT_RCPTDELETE", quoted(f"<{edit.address}>")
        case act.ReplaceBody():
            return "MT_BODYCHANGE", quoted(edit.data)
        case act.Quarantine():
            return "MT_QUARANTINE", quoted(edit.reason)
        case act.ReplyCode():
            return "MT_SMTPREPLY", quoted(str(edit.code)), quoted(edit.enhanced), quoted("100%% no")
        case _:
            return ()  # it cannot check a changed sender


def as_lua(address: str, case: Case, checks: list[tuple[str, ...]]) -> str:
    """A script that does the same; what is not asked for raises, and is left out."""
    lines = [
        f'conn = mt.connect("{address}", 50, 0.1)',
        "mt.negotiate(conn, 6, 1048575, 511)",  # steps before actions, whatever its manual says
        "over, taken = false, 0",
        "function check(...)",  # it raises an error where a filter has given no reply
        "  local ok, found = pcall(mt.eom_check, conn, ...)",
        "  mt.echo(tostring(ok and found))",
        "end",
        "function say(event, call, ...)",
        "  if over then return end",
        "  local ok, error = pcall(call, conn, ...)",
        '  local reply = "c"',
        "  if ok and error == nil then",
        "    reply = string.char(mt.getreply(conn))",
        '    mt.echo(event .. " " .. reply)',
        "  elseif ok then mt.echo(error) end",
        '  if event == "recipient" then',
        '    if reply == "c" or reply == "d" or reply == "a" then taken = taken + 1 end',
        '    over = reply == "d" or reply == "a"',
        '  elseif event == "body" and reply == "s" then skipped = true',
        '  elseif reply ~= "c" then over = true end',
        "end",
        f'say("connect", mt.conninfo, {quoted(case.host)}, "192.0.2.1")',
        f'say("hello", mt.helo, {quoted(case.helo)})',
        f'mt.macro(conn, SMFIC_MAIL, "i", {quoted(QUEUE_ID)})',
        f'say("mail", mt.mailfrom, {quoted(f"<{case.sender}>")})',
        *(f'say("recipient", mt.rcptto, {quoted(f"<{one}>")})' for one in case.recipients),
        "if taken == 0 then over = true end",
        'say("data", mt.data)',
        *(f'say("header", mt.header, {quoted(name)}, {quoted(value)})' for name, value in case.fields),
        'say("end_of_headers", mt.eoh)',
    ]
    for at in range(0, len(case.body), CHUNK):
        chunk = quoted(case.body[at : at + CHUNK])
        lines.append(f'if not skipped then say("body", mt.bodystring, {chunk}) end')
    lines.append('say("end_of_message", mt.eom)')
    lines += [f"check({', '.join(check)})" for check in checks]
    seen = {check[0] for check in checks}
    lines += [f"check({name})" for name in CHECKS if name not in seen]
    return "\n".join([*lines, "mt.disconnect(conn)"])


@pytest.mark.parametrize(
    ("milter", "name"),
    [
        *((milter, name) for milter in ("ours", "ours, threads") for name in CASES | OURS),
        *((milter, name) for milter in ("c", "pymilter") for name in CASES),
    ],
    indirect=["milter"],
)
def test_miltertest_hears_what_we_hear(milter: str, name: str, tmp_path: Path) -> None:
    """Each answer at each event, each change, and no other."""
    case = (CASES | OURS)[name]
    answers, edits = heard_by_us(milter, case)
    checks = [check for check in map(check_of, edits) if check]
    script = tmp_path / "script.lua"
    script.write_text(as_lua(milter, case, checks))
    command = [miltertest(), "-s", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        *answers,
        *["true"] * len(checks),
        *["false"] * len(set(CHECKS) - {check[0] for check in checks}),
    ]
