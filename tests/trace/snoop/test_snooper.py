"""The snooper: bytes go through untouched, whatever they are, and what was seen is told."""

import asyncio
import errno
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demyjpy import running
from demyjpy.drivers.address import Address, listen, parse_address
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import Server
from demyjpy.trace import Trace, Tray, WireRecorder, load
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from demyjpy.trace.snoop.snooper import Snooper, _SnoopedSession, _why
from tests.cli.servers import PATIENCE, listening, silent
from tests.engine.harness import (
    join,
    offer,
)
from tests.trace.sessions import tagger
from tests.trace.snoop.clients import client

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
    assert "is down" in caplog.text
    assert "is up again" in caplog.text


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


def test_why_a_milter_is_away_is_said_in_words() -> None:
    """Without addresses, though asyncio may have tried several."""
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
    assert _why(refused) == "connection refused"
    assert _why(OSError(f"Multiple exceptions: {refused}, {refused}")) == "connection refused"
    assert _why(socket.gaierror(-2, "Name or service not known")) == "name or service not known"
    assert _why(OSError("what is it")) == "what is it"


def test_what_was_early_may_be_all_that_a_milter_takes_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the MTA is read on when the milter takes more, not when it is there."""

    async def inside(snooper: Snooper, seen: Seen) -> None:
        one = _SnoopedSession(snooper, "1")
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
