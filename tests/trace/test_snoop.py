"""The snooper: bytes go through untouched, whatever they are, and what was seen is told."""

import asyncio
import errno
import io
import socket
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demyjpy import running
from demyjpy.cli.commands.snoop import Outbox, Screen, _place, record_line
from demyjpy.cli.output import Paint
from demyjpy.drivers.address import Address, listen, parse_address
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import Server
from demyjpy.trace import Trace, Tray, WireRecorder, load
from demyjpy.trace.comparing import compare_bytes
from demyjpy.trace.replaying import Filter
from demyjpy.trace.snooping import AWAY, Snooper, _Session, _why
from demyjpy.trace.tapes import WireTape
from demyjpy.trace.words import flag_words
from tests.cli.servers import PATIENCE, listening, program, read_until, silent
from tests.engine.harness import (
    BODY,
    CONNECT,
    HEADER,
    HELO,
    MAIL,
    QUIT,
    RCPT,
    UNKNOWN,
    join,
    offer,
    packet,
)
from tests.trace.sessions import tagger

Run = Callable[..., tuple[int, str, str]]
LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()
FREE = "inet:0@127.0.0.1"


class Seen(list[dict[str, Any]]):
    """What a snooper told."""

    def __call__(self, name: str, records: list[dict[str, Any]]) -> None:
        self.extend(records)


def snooping(
    to: str, inside: Callable[[Snooper, Seen], Awaitable[Any]], listen: str = FREE, **options: Any
) -> Seen:
    """Run something beside a snooper; what it has told."""
    seen = Seen()

    async def main() -> None:
        options.setdefault("tell", seen)
        options.setdefault("recorder", lambda name: WireRecorder(None, name))
        async with Snooper(parse_address(listen), parse_address(to), **options) as snooper:
            async with asyncio.timeout(PATIENCE):
                await inside(snooper, seen)
                await snooper.close(PATIENCE)

    asyncio.run(main())
    return seen


async def until(is_so: Callable[[], bool]) -> None:
    """Poll; the timeout is the caller's."""
    while not is_so():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)


def client(address: Address) -> socket.socket:
    if address.kind == "unix":
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(PATIENCE)
        try:
            found.connect(address.path)
        except OSError:
            found.close()
            raise
        return found
    return socket.create_connection((address.host, address.port), PATIENCE)


def talk(address: Address, data: bytes, *, ends: bool = True) -> bytes:
    """Say this, and read to the end."""
    said = b""
    with suppress(ConnectionResetError), client(address) as sock:
        sock.sendall(data)
        if ends:
            sock.shutdown(socket.SHUT_WR)
        while got := sock.recv(65536):
            said += got
    return said


@pytest.mark.parametrize("kind", ["inet", "unix"])
def test_a_milter_is_the_same_with_and_without_it(kind: str, tmp_path: Path) -> None:
    """The session, and its recording, which replays."""
    listen_at = FREE if kind == "inet" else f"unix:{tmp_path}/front"
    milter_at = FREE if kind == "inet" else f"unix:{tmp_path}/back"
    tray = Tray(tmp_path / "traces", "test").prepare()
    with running(tagger(), address=milter_at) as milter:
        without = Server(milter).run(LETTER, mta=Postfix())

        async def inside(snooper: Snooper, seen: Seen) -> None:
            through = await asyncio.to_thread(Server(str(snooper.address)).run, LETTER, mta=Postfix())
            assert through == without

        snooping(milter, inside, listen_at, recorder=lambda name: WireRecorder(tray, name))
    tray.close()
    (path,) = (tmp_path / "traces").iterdir()
    (trace,) = load(path)
    assert trace.how == "quit"
    assert compare_bytes(trace, Filter(tagger())).is_same
    assert not any("odd" in record for record in trace.records)


def test_many_sessions_at_once_are_kept_apart() -> None:
    """Each is told under its own name."""
    with running(tagger()) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            play = Server(str(snooper.address)).run
            done = [asyncio.to_thread(play, LETTER, mta=Postfix()) for _ in range(8)]
            assert all(result.is_delivered for result in await asyncio.gather(*done))

        seen = snooping(milter, inside)
    names = {record["session"] for record in seen}
    assert len(names) == 8
    for name in names:
        trace = Trace(name, tuple(record for record in seen if record["session"] == name))
        assert compare_bytes(trace, Filter(tagger())).is_same


ECHO = b"\0\0\0\0 no packets at all " * 10_000


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def test_what_it_cannot_read_goes_through_all_the_same() -> None:
    """More than the buffers hold, in both directions; it is told as what cannot be read."""
    with listening(echo) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            def both() -> None:
                with client(snooper.address) as sock:
                    data = ECHO * 40
                    writer = threading.Thread(
                        target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR))
                    )
                    writer.start()
                    got = 0
                    while part := sock.recv(65536):
                        got += len(part)
                    writer.join()
                    assert got == len(data)

            await asyncio.to_thread(both)

        seen = snooping(milter, inside)
    assert {record["direction"] for record in seen} == {"mta", "filter", "end"}
    assert "a packet length from 1 to" in str(seen[0]["problem"])


def test_a_milter_that_reads_slowly_holds_up_the_mta_and_no_memory() -> None:
    """What it does not take is not read; when it does, all goes through."""
    released = threading.Event()

    def read_late(sock: socket.socket) -> None:
        released.wait(PATIENCE)
        echo(sock)

    with listening(read_late) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            data = b"x" * (16 << 20)

            def say() -> None:
                with client(snooper.address) as sock:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)

            task = asyncio.create_task(asyncio.to_thread(say))
            await until(
                lambda: any(
                    one.front.was_made and one.back.was_made and one.front.is_held
                    for one in snooper._sessions
                )
            )
            released.set()
            await task

        seen = snooping(milter, inside)
    assert seen[-1]["how"] == "mta"


class LateSnooper(Snooper):
    """One whose connection with the milter takes until the MTA has said something, or all."""

    async def connect(self, protocol: Any) -> Any:
        if protocol is not asyncio.Protocol:  # that is only to see whether the milter is there
            (session,) = self._sessions
            await until(lambda: session.front.was_made)
            await asyncio.sleep(0.05)
        return await super().connect(protocol)


@pytest.mark.parametrize("size", [0, 1, 64, 3 << 20])
def test_what_the_mta_says_before_the_milter_is_there_is_kept(size: int) -> None:
    """All bytes and the end of the stream arrive once the milter's connection is there."""
    data = b"x" * size
    with listening(echo) as milter:

        async def main() -> bytes:
            snooper = LateSnooper(
                parse_address(FREE),
                parse_address(milter),
                Seen(),
                lambda name: WireRecorder(None, name),
            )
            async with asyncio.timeout(PATIENCE), snooper:
                said = await asyncio.to_thread(talk_in_two, snooper.address, data)
                await snooper.close(PATIENCE)
                return said

        assert asyncio.run(main()) == data


def talk_in_two(address: Address, data: bytes) -> bytes:
    """Say this, and read beside it, to the end."""
    with client(address) as sock:
        saying = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        saying.start()
        said = b"".join(iter(lambda: sock.recv(65536), b""))
        saying.join(PATIENCE)
    return said


def test_a_milter_that_closes_closes_the_mta() -> None:
    """With an end, or a reset, as it came; who was first is told."""

    def leave(sock: socket.socket) -> None:
        sock.recv(1)

    def reset(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for behave in (leave, reset):
        with listening(behave) as milter:

            async def inside(snooper: Snooper, seen: Seen) -> None:
                await asyncio.to_thread(talk, snooper.address, b"x", ends=False)

            seen = snooping(milter, inside)
        assert [record.get("how") for record in seen][-1] == "filter"


def test_an_mta_that_leaves_is_no_trouble() -> None:
    """In the middle of everything, with an end or a reset."""
    with listening(silent) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            await asyncio.to_thread(talk, snooper.address, join([offer()])[:9])
            with client(snooper.address) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(b"x")
            await until(lambda: sum("how" in one for one in seen) == 2)

        seen = snooping(milter, inside)
    assert [record["how"] for record in seen if "how" in record] == ["mta", "mta"]


def test_while_the_milter_is_away_nobody_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, or not there, as the milter itself would be; it listens again when the milter does."""
    back, front = tmp_path / "back", tmp_path / "front"

    def refused() -> str:
        try:
            client(parse_address(f"unix:{front}")).close()
        except OSError as error:
            return type(error).__name__
        return "connected"

    async def until_it_is(what: str) -> None:
        await until(lambda: refused() == what)

    async def inside(snooper: Snooper, seen: Seen) -> None:
        assert refused() == "FileNotFoundError"
        listener = listen(parse_address(f"unix:{back}"))
        await until_it_is("connected")
        listener.socket.close()  # its file stays: refused from now on
        await until_it_is("ConnectionRefusedError")
        listener.socket.close()
        listener = listen(parse_address(f"unix:{back}"))
        await until_it_is("connected")
        listener.close()
        await until_it_is("FileNotFoundError")

    snooping(f"unix:{back}", inside, f"unix:{front}")
    assert "is away" in caplog.text
    assert "is back" in caplog.text


def test_an_inherited_socket_goes_on_listening(tmp_path: Path) -> None:
    """It could not be opened again; the session is reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            for _ in range(2):
                assert (
                    await asyncio.to_thread(
                        talk, Address("inet", "127.0.0.1", server.getsockname()[1]), b"", ends=False
                    )
                    == b""
                )

        seen = snooping(f"unix:{tmp_path}/none", inside, f"fd:{server.fileno()}")
    assert [record["how"] for record in seen] == ["filter", "filter"]


def test_a_wait_that_is_too_long_is_told() -> None:
    """Once; the answer still goes through."""
    with listening(silent) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            with client(snooper.address) as sock:
                sock.sendall(join([offer()]))
                await until(lambda: any("odd" in one for one in seen))

        seen = snooping(milter, inside, patience=0.05)
    assert [one["odd"] for one in seen if "odd" in one] == [["no answer to options for 0.05 s"]]


def test_what_goes_wrong_with_watching_touches_no_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and that session is watched no more."""

    def fail(name: str, records: Any) -> None:
        raise ValueError("no")

    with running(tagger()) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            result = await asyncio.to_thread(Server(str(snooper.address)).run, LETTER, mta=Postfix())
            assert result.is_delivered

        snooping(milter, inside, tell=fail)
    assert caplog.text.count("watched no more; its bytes still go through") == 1


def test_closing_ends_the_sessions_that_are_left() -> None:
    """After the grace period, or with the block."""
    with listening(silent) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            with client(snooper.address) as sock:
                sock.sendall(join([offer()]))
                await until(lambda: bool(seen))
                await snooper.close(0.05)
                assert await asyncio.to_thread(sock.recv, 1) == b""

        seen = snooping(milter, inside)
    assert seen[-1]["reason"] == "the snooper was stopped"


@pytest.mark.parametrize("turns", range(6))
def test_who_comes_as_it_is_left_is_sent_away(turns: int) -> None:
    """However far the loop is with its connection."""

    async def main(to: str) -> bytes:
        recorder = partial(WireRecorder, None)
        async with Snooper(parse_address(FREE), parse_address(to), Seen(), recorder) as snooper:
            sock = client(snooper.address)
            for _ in range(turns):
                await asyncio.sleep(0)
        with sock, suppress(ConnectionResetError):
            return await asyncio.to_thread(sock.recv, 1)
        return b""

    with listening(silent) as milter:
        assert asyncio.run(main(milter)) == b""


def test_one_that_was_left_does_not_come_back_with_the_milter() -> None:
    """It waits for it no longer."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            to = f"inet:{server.getsockname()[1]}@127.0.0.1"
        recorder = partial(WireRecorder, None)
        async with Snooper(parse_address(FREE), parse_address(to), Seen(), recorder) as snooper:
            assert not snooper.is_listening
        snooper.to = parse_address(milter)
        await asyncio.sleep(0.3)
        assert not snooper.is_listening

    with listening(silent) as milter:
        asyncio.run(main())


# ------------------------------------------------------------------------------- the program
def test_the_program_shows_and_records(run: Run, mail: Path, tmp_path: Path) -> None:
    """Packet by packet; SIGTERM ends it."""
    traces = tmp_path / "traces"
    with running(tagger()) as milter:
        with program("snoop", "--listen", FREE, "--to", milter, "--record", str(traces)) as started:
            (line,) = read_until(started, "snooping on ")
            address = line.split()[2].rstrip(",")
            assert run("send", "--to", address, mail)[0] == 0
            lines = read_until(started, "") and [started.stdout.readline() for _ in range(3)]
            assert any("#1" in one for one in lines)
        assert started.returncode == 0
    assert run("replay", *traces.iterdir())[:2] == (0, "1 session, 1 message, 0 sessions differ\n")


def test_the_program_ends_at_the_second_signal_at_once(tmp_path: Path) -> None:
    """Though a session is open; and it may be quiet."""
    options = ("--listen", FREE, "--quiet", "--to")
    heard = threading.Event()

    def hear(sock: socket.socket) -> None:
        if sock.recv(65536):
            heard.set()
            silent(sock)

    with listening(hear) as milter, program("snoop", *options, milter) as started:
        (line,) = read_until(started, "snooping on ")
        with client(parse_address(line.split()[2].rstrip(","))) as sock:
            sock.sendall(join([offer()]))
            assert heard.wait(PATIENCE)
            started.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                started.wait(0.5)
            started.terminate()
            assert started.wait(PATIENCE) == 0


def test_the_program_refuses_what_it_cannot_do(run: Run, tmp_path: Path) -> None:
    """A port in use, a directory that cannot be: one line, status 1; a bad address: 2."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"inet:{server.getsockname()[1]}@127.0.0.1"
        status, _, errors = run("snoop", "--listen", address, "--to", FREE)
        assert (status, errors) == (
            1,
            f"demyjpy snoop: cannot listen on {address}: Address already in use\n",
        )
    status, _, errors = run("snoop", "--listen", FREE, "--to", FREE, "--record", "/dev/null/x")
    assert (status, errors) == (1, "demyjpy snoop: cannot record in /dev/null/x: Not a directory\n")
    assert run("snoop", "--listen", FREE, "--to", "fd:3")[0] == 2
    status, _, errors = run("snoop", "--listen", FREE, "--to", FREE, "--record-raw")
    assert (status, errors) == (2, "demyjpy snoop: --record-raw needs --record\n")


@pytest.mark.parametrize(
    ("listen_at", "to"),
    [
        ("21030", "21030"),
        ("inet:21030@127.0.0.1", "inet6:21030@::1"),
        ("inet:21030@0.0.0.0", "inet:21030@LOCALHOST"),
        ("inet:21030@192.0.2.1", "inet:21030@192.0.2.1"),
        ("unix:/tmp/../tmp/snoop.sock?mode=660", "unix:/tmp/snoop.sock"),
    ],
)
def test_it_is_not_its_own_milter(run: Run, listen_at: str, to: str) -> None:
    """It would connect to itself without end, however the address is written."""
    status, _, errors = run("snoop", "--listen", listen_at, "--to", to)
    assert status == 2
    assert errors.startswith("demyjpy snoop: expected two addresses, got ")


def test_other_ports_and_hosts_are_other_places() -> None:
    """Also those that are all this machine's."""
    texts = ("1@localhost", "2@localhost", "1@127.0.0.2", "1@mail.example", "1@192.0.2.1")
    places = {_place(parse_address(f"inet:{text}")) for text in texts}
    assert len(places) == len(texts)


def test_the_program_tells_that_it_waits_for_the_milter(tmp_path: Path) -> None:
    """Nobody listens until then."""
    to = f"unix:{tmp_path}/none.sock"
    with program("snoop", "--listen", FREE, "--to", to) as started:
        (line,) = read_until(started, "will listen on ")
    assert line.rstrip().endswith(f", in front of {to}, when the milter is there")
    assert started.returncode == 0


def test_why_a_milter_is_away_is_said_in_words() -> None:
    """Without addresses, though asyncio may have tried several."""
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
    assert _why(refused) == "connection refused"
    assert _why(OSError(f"Multiple exceptions: {refused}, {refused}")) == "connection refused"
    assert _why(socket.gaierror(-2, "Name or service not known")) == "name or service not known"
    assert _why(OSError("what is it")) == "what is it"


def test_an_outbox_drops_what_is_too_much(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And counts it; an error in writing is logged."""
    monkeypatch.setattr("demyjpy.cli.commands.snoop._MOST_WAITING", 1)
    done = threading.Event()
    outbox = Outbox()
    outbox.put(lambda: 1 / 0)
    outbox.put(done.set)
    assert outbox.dropped == 1
    with outbox:
        pass
    assert "ZeroDivisionError" in caplog.text
    assert "1 lines or records were dropped" in caplog.text
    assert not done.is_set()


def test_a_screen_that_nobody_reads_is_no_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed any more."""
    with Outbox() as outbox:
        screen = Screen(Paint(False), outbox)
        screen("s", [])
        screen("s", [{"direction": "end", "time": 1.0, "how": "quit"}])
    assert capsys.readouterr().out.endswith("#1 end      the MTA has said quit\n")
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    with Outbox() as outbox, pytest.MonkeyPatch.context() as patch:
        screen = Screen(Paint(False), outbox)
        patch.setattr("sys.stdout", full)
        for _ in range(2):
            screen._print(["x"])
    assert not screen._is_read
    full.detach().close()


def test_every_packet_has_words() -> None:
    """Names and flags; what is odd; what cannot be read."""
    tape = WireTape("s")
    macros = packet("D", b"Ci\0Q1\0")
    mta = (
        offer(),
        macros,
        CONNECT,
        packet("C", b"l\0U"),
        HELO,
        MAIL,
        RCPT,
        HEADER,
        BODY,
        UNKNOWN,
        packet("T"),
        QUIT,
        packet("?"),
    )
    negotiated = packet("O", b"\0\0\0\6\0\0\0\1\x20\x18\x00\x41" + b"\0\0\0\0i j\0")
    answers = (
        negotiated,
        packet("p"),
        packet("h", b"A\0b\0"),
        packet("c"),
        packet("y", b"550 5.7.1 no\0"),
    )
    records = [record for one in mta for record in tape.take("mta", join([one]), 1.5)]
    records += [record for one in answers for record in tape.take("filter", join([one]), 1.5)]
    records += tape.end(1.5, "mta", "gone")
    records.append({"session": "s", "odd": ["slow"]})
    records.append({"session": "s", "direction": "filter", "answer": [{"action": "New"}]})
    lines = [record_line(record, 1, Paint(False)) for record in records]
    text = "\n".join(lines)
    for expected in (
        "#1 MTA    > options  version 6, offers add_header, add_recipient, ",
        "#1 MTA    > define_macros  for connect: i=Q1",
        "#1 MTA    > connect  client.example [192.0.2.1] port 25",
        "#1 MTA    > connect  l",
        "#1 MTA    > mail  <alice@example.org>",
        "#1 MTA    > header  Subject: hello",
        "#1 MTA    > body  6 bytes",
        "#1 MTA    > unknown  FOO bar",
        "#1 MTA    > data",
        "cannot be read: expected a command",
        "#1 filter < version 6, wants add_header; without connect, end_of_headers",
        "packets of 1 MiB; macros i j at stage 0",
        "still at work",
        "reply 550 5.7.1 no",
        "#1 end      the MTA has closed the connection: gone",
        "!! slow",
        "#1 filter < New",
    ):
        assert expected in text, (expected, text)
    (away,) = tape.end(2.5, "filter", f"{AWAY}: connection refused")
    line = record_line(away, 1, Paint(False))
    assert line.endswith("#1 end      the milter is away: connection refused")
    assert flag_words(0, 0) == "no changes"
    assert "\x1b[" in record_line(records[0], 1, Paint(True))


def test_what_was_early_may_be_all_that_a_milter_takes_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the MTA is read on when the milter takes more, not when it is there."""

    async def inside(snooper: Snooper, seen: Seen) -> None:
        one = _Session(snooper, "1")
        reads: list[str] = []
        monkeypatch.setattr(one.front, "pause", lambda: reads.append("pause"))
        monkeypatch.setattr(one.front, "resume", lambda: reads.append("resume"))
        monkeypatch.setattr(one.back, "write", lambda data: one.back.pause_writing())
        one.said(one.front, join([offer()]))
        one.back.was_made = True
        one.made(one.back)
        assert reads == ["pause", "pause"]
        one.back.resume_writing()
        assert reads == ["pause", "pause", "resume"]

    with listening(silent) as milter:
        snooping(milter, inside)
