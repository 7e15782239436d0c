"""Questions over a stream: one line for another, and a real clamd; and waiting."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from attrs import frozen

from demyjpy.errors import AddressError, HandlerError
from demyjpy.lookups.sleep import Sleep
from demyjpy.lookups.streams import AskLine, ClamScan, Streams
from demyjpy.message import Message
from demyjpy.message.content import Kept
from demyjpy.questions import Answered, Failed, Late
from tests.lookups.servers import ask_once, clamd, directory, need, outcome, until, with_client

CLEAN = Message.parse(b"Subject: hello\r\n\r\nHello\r\n")
BAD = Message.parse(b"Subject: hello\r\n\r\nsee: BAD-BAD-MARKER\r\n")


@asynccontextmanager
async def listening(meet, path=None):
    """A server that calls ``meet(reader, writer)`` for each connection; its address."""
    writers = []

    async def connected(reader, writer):
        writers.append(writer)
        await meet(reader, writer)
        writer.close()

    if path is not None:
        server, address = await asyncio.start_unix_server(connected, path), f"unix:{path}"
    else:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        address = f"inet:{server.sockets[0].getsockname()[1]}@127.0.0.1"
    async with server:
        yield address
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.001)  # or the loop ends before they are closed


def served(answer, main, path=None, **options):
    """Run ``main(address, resources)`` beside a server that answers a line: ``answer(line, writer)``."""

    async def meet(reader, writer):
        await answer(await reader.readline(), writer)

    async def run():
        async with listening(meet, path) as address, Streams(**options) as streams:
            return await main(address, {"streams": streams})

    return asyncio.run(run())


async def echo(line, writer):
    writer.write(b"200 " + line.rstrip() + b"\r\n")


def test_a_line_for_a_line():
    """Any bytes survive both ways; the end of the line is no part of it."""

    async def main(address, resources):
        return await ask_once(AskLine(address, "get x\udcff"), resources)

    assert served(echo, main) == Answered("200 get x\udcff")


def test_over_a_unix_socket():
    """Without a resource, for nothing stays open."""

    async def main(address, resources):
        return await ask_once(AskLine(address, "a"), {})

    with directory() as where:
        assert served(echo, main, where / "s") == Answered("200 a")


@pytest.mark.parametrize("line", ["a\nb", "a\rb", "a\0", b"a", None])
def test_a_key_cannot_become_a_second_line(line):
    """It is an error when the question is made; what came is not told, for it may be of a mail."""
    with pytest.raises(HandlerError, match="expected one line of text"):
        AskLine("unix:/run/x", line)


@pytest.mark.parametrize("server", ["fd:3", "systemd", "nonsense"])
def test_an_address_to_connect_to_is_wanted(server):
    """Not one to listen at."""
    with pytest.raises(AddressError, match="expected an address"):
        AskLine(server, "a")


async def end(line, writer):
    writer.write(b"20")


async def flood(line, writer):
    writer.write(b"x" * 200_000)


async def silent(line, writer):
    await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (end, "got 2 bytes of one and the end of the connection"),
        (flood, "at most 65536 bytes, got more"),
        (silent, "no answer within 0.05 s"),
    ],
)
def test_no_line_is_a_failure(answer, said):
    """The error says which server."""

    async def main(address, resources):
        return await ask_once(AskLine(address, "a"), resources), address

    found, address = served(answer, main, timeout=0.05 if answer is silent else 5)
    assert said in found.error
    assert f"stream {address}: " in found.error


def test_nobody_listens():
    """The system says why; after some failures nobody tries for a while."""

    async def main(streams):
        asked = AskLine("unix:/nowhere/s", "a")
        return [await ask_once(asked, {"streams": streams}) for _ in range(2)]

    first, second = with_client(lambda: Streams(most_failures=1), main)
    assert first.error.startswith("UnansweredError: stream unix:/nowhere/s: [Errno 2]")
    assert "was not asked" in second.error


def test_a_question_of_ones_own_may_be_pure():
    """Who derives it says so."""

    @frozen
    class Known(AskLine, pure=True, remember_for=60):
        """Whether somebody is known."""

    async def main(address, resources):
        return await ask_once(Known(address, "a"), resources)

    assert (Known.pure, AskLine.pure) == (True, False)
    assert served(echo, main) == Answered("200 a")


# ------------------------------------------------------------------------------------------- clamd
@pytest.fixture(scope="module")
def scanner():
    with clamd(f"Test.Marker:0:*:{b'BAD-BAD-MARKER'.hex()}") as server:
        yield server


def scan(scanner, message, **options):
    question = ClamScan(message, f"unix:{scanner.address}", **options)
    return outcome(question, within=10)


def spooled(size, mark=b""):
    """A message whose body is given out in pieces, and the count of those that were read."""
    read = []

    def pieces():
        for start in range(0, size, 65_536):
            read.append(start)
            yield b"x" * min(65_536, size - start)
        yield mark

    return Message(fields=CLEAN.fields, content=Kept(size + len(mark), pieces, is_in_file=True)), read


@need("clamav")
def test_clamd_scans_a_message(scanner):
    """None, or the name of what it has found, also at the end of a large one."""
    assert scan(scanner, CLEAN) == Answered(None)
    found = Answered("Test.Marker.UNOFFICIAL")
    assert scan(scanner, BAD) == found
    assert scan(scanner, spooled(500_000, b"\nBAD-BAD-MARKER\n")[0]) == found


@need("clamav")
def test_a_message_that_is_too_large_for_clamd_is_a_failure(scanner):
    """It says so itself, and the rest is not read."""
    message, read = spooled(50_000_000)
    found = scan(scanner, message)
    assert "INSTREAM size limit exceeded" in found.error
    assert len(read) < 200


@need("clamav")
def test_a_body_that_is_gone_is_a_failure(scanner):
    """As when the message has ended meanwhile."""
    for body in (Kept(5, lambda: None), Kept(5)):
        found = scan(scanner, Message(content=body))
        assert found.error.startswith("LocalProtocolError: the ")


@need("clamav")
def test_messages_that_hold_up_clamd_do_not_close_it_for_others(scanner):
    """If it is alive; if it is stopped, it is left alone until it is back."""
    asked = ClamScan(CLEAN, f"unix:{scanner.address}", timeout=0.0001)

    async def main(streams):
        resources = {"streams": streams}
        slow = [await ask_once(asked, resources) for _ in range(4)]
        fine = await ask_once(ClamScan(CLEAN, asked.server), resources, within=10)
        with scanner.held():
            for _ in range(100):
                last = await ask_once(asked, resources)
                if "was not asked" in last.error:
                    break
                await asyncio.sleep(0.01)
        again = await until(Answered, ClamScan(CLEAN, asked.server), resources, within=10)
        return slow, fine, last, again

    options = {"timeout": 0.1, "most_failures": 2, "pause": 0.05}
    slow, fine, last, again = with_client(lambda: Streams(**options), main)
    assert {type(one) for one in slow} == {Failed}
    assert fine == again == Answered(None)
    assert "was not asked" in last.error


def test_clamd_that_hangs_up_or_talks_nonsense():
    """Nothing of that is taken for a clean message, nor is it harmful where it is shown."""

    async def hang_up(line, writer):
        writer.transport.abort()

    async def nonsense(line, writer):
        writer.write(b"stream: perhaps\x1b[31m\0")
        await asyncio.sleep(0.01)

    async def forged(line, writer):
        writer.write(b"stream: \x1b[31m\r\nX\xff" + b"x" * 1_000 + b" FOUND\0")
        await asyncio.sleep(0.01)

    def asked(answer):
        async def meet(reader, writer):
            await reader.readexactly(9)
            await answer(b"", writer)

        async def main():
            async with listening(meet) as address:
                return await ask_once(ClamScan(spooled(5_000_000)[0], address), {})

        return asyncio.run(main())

    assert asked(hang_up).error.startswith("UnansweredError: stream inet:")
    assert "expected OK or FOUND of clamd at inet:" in asked(nonsense).error
    assert asked(nonsense).error.endswith("got: perhaps\\x1b[31m")
    name = asked(forged).value
    assert name.startswith("\\x1b[31m\\r\\nX\ufffdx")
    assert len(name) < 220


def test_nothing_more_is_sent_when_clamd_has_answered():
    """Also if it reads on."""
    message, read = spooled(20_000_000)

    async def meet(reader, writer):
        await reader.readexactly(9)
        writer.write(b"stream: OK\0")
        while await reader.read(1 << 20):
            pass

    async def main():
        async with listening(meet) as address:
            return await ask_once(ClamScan(message, address), {})

    assert asyncio.run(main()) == Answered(None)
    assert len(read) < 300


# ------------------------------------------------------------------------------------------- sleep
def test_a_tarpit_ties_up_nobody():
    """A thousand wait at the same time, in one thread; who goes away sooner is late."""

    async def main():
        found = await asyncio.gather(*(ask_once(Sleep(0.05), {}) for _ in range(1_000)))
        return found, await ask_once(Sleep(60), {}, within=0.01)

    started = time.monotonic()
    found, late = asyncio.run(main())
    assert set(found) == {Answered(None)}
    assert late == Late()
    assert time.monotonic() > started
    with pytest.raises(HandlerError, match="expected Sleep in seconds"):
        Sleep(-1)
