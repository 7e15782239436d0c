"""Questions and effects for Redis, against a real server."""

import asyncio
from contextlib import suppress

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups.redis import Redis, RedisCount, RedisRead, RedisWrite
from demyjpy.questions import Answered, Failed, Late
from tests.lookups.servers import ask_once, need, outcome, redis_server, until, with_client
from tests.lookups.test_streams import listening

pytestmark = need("redis")


@pytest.fixture(scope="module")
def server():
    with redis_server() as server:
        yield server


@pytest.fixture
def client(server):
    """Makes a client of an empty server."""

    def made(**options):
        return Redis(f"redis://127.0.0.1:{server.address}/0", **options)

    with_client(made, lambda redis: redis.execute("flushall"))
    return made


def answers(client, *questions, within=5.0, **options):
    """What becomes of questions that are asked one after the other."""

    async def main(redis):
        return [await ask_once(one, {"redis": redis}, within) for one in questions]

    return with_client(lambda: client(**options), main)


def test_what_is_written_is_read(client):
    """None for what is not there; maps and lists are plain data."""
    assert answers(
        client,
        RedisRead(("get", "a")),
        RedisWrite(("set", "a", "ü\udcff")),
        RedisRead(("get", "a")),
        RedisWrite(("hset", "h", "x", 1)),
        RedisRead(["hgetall", "h"]),
        RedisRead(("mget", "a", "none")),
    ) == [
        *(Answered(None), Answered(True), Answered("ü\udcff"), Answered(1)),
        *(Answered({"x": "1"}), Answered(("ü\udcff", None))),
    ]


def test_a_key_cannot_become_a_second_command(client):
    """Whatever a client sends."""
    key = "x\r\nFLUSHALL\r\n"
    found = answers(
        client, RedisWrite(("set", "a", 1)), RedisWrite(("set", key, 2)), RedisRead(("mget", "a", key))
    )
    assert found[-1] == Answered(("1", "2"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RedisRead(("set", "a", 1)), "expected a command that only reads, got SET"),
        (lambda: RedisRead("get"), "expected a command as in"),
        (lambda: RedisRead(()), "expected a command as in"),
        (lambda: RedisWrite(("select", 3)), "leaves its connection as it was, got SELECT"),
        (lambda: RedisWrite(("SELECT 3",)), "the name of a command in one word"),
        (lambda: RedisWrite(("\tselect",)), "the name of a command in one word"),
        (lambda: RedisWrite(("", "select")), "the name of a command in one word"),
        (lambda: RedisWrite((b"SELECT 3",)), "the name of a command in one word"),
        (lambda: RedisWrite(("set", "a", None)), "texts, bytes or numbers, got None"),
        (lambda: RedisCount("a", 0), "expected seconds= in seconds"),
        (lambda: Redis("http://x"), "expected the URL of a Redis"),
    ],
)
def test_what_cannot_be_asked_is_an_error_when_it_is_made(make, said):
    """Before anything is sent."""
    with pytest.raises(HandlerError, match=said):
        make()


def test_a_refusal_holds_nothing_of_a_mail(client):
    """And says nothing against the server."""
    found = answers(
        client,
        RedisWrite(("nosuch", "private")),
        RedisWrite(("lpush", "l", 1)),
        RedisRead(("get", "l")),
        most_failures=1,
    )
    assert found[0].error.startswith("RefusedError: redis 127.0.0.1:")
    assert found[0].error.endswith(": ResponseError: unknown command")
    assert "WRONGTYPE" in found[2].error


def said(reply, question, **options):
    """What becomes of a question if a server answers everything but the greeting with this line."""

    async def meet(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            while True:
                count = int((await reader.readuntil(b"\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\n"))[1:])
                    words.append(await reader.readexactly(size + 2))
                writer.write(b"+OK\r\n" if words[0] in (b"HELLO\r\n", b"CLIENT\r\n") else reply)

    async def main():
        async with listening(meet) as address:
            port = address.partition(":")[2].partition("@")[0]
            async with Redis(f"redis://127.0.0.1:{port}", **options) as redis:
                return [await ask_once(question, {"redis": redis}) for _ in range(2)]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-READONLY no SET k private\r\n", "ReadOnlyError"),
        (b"-LOADING \x1b[31m\rprivate\r\n", "BusyLoadingError"),
        (b"-private\r\n", "ResponseError"),
        (b"-OOM private\r\n", "OutOfMemoryError"),
        (b"?private\r\n", "InvalidResponse"),
    ],
)
def test_what_a_server_quotes_is_not_shown(reply, kind, caplog):
    """Neither in an answer nor in the log: it may be of a mail, or harm a terminal."""
    found = said(reply, RedisWrite(("set", "k", "private")), most_failures=1)
    assert kind in found[0].error
    for text in (*(one.error for one in found), caplog.text):
        assert "private" not in text
        assert "\x1b" not in text


def test_counting_in_a_window(client):
    """All that is counted at once counts; when the window is over it begins anew."""

    async def main(redis):
        asked = (ask_once(RedisCount("k", 0.2), {"redis": redis}) for _ in range(9))
        found = [one.value for one in await asyncio.gather(*asked)]
        for _ in range(500):
            again = await ask_once(RedisCount("k", 5), {"redis": redis})
            if again == Answered(1):
                break
            await asyncio.sleep(0.005)
        return sorted(found), again

    assert with_client(lambda: client(pool=3), main) == ([*range(1, 10)], Answered(1))


def test_a_server_that_crashes_comes_back(server, client):
    """Killed, or stopped without a word: in both cases it is found again by itself."""

    async def main(redis):
        read, resources = RedisRead(("get", "a")), {"redis": redis}
        found = [await until(Answered, read, resources)]
        server.stop()
        found.append(await until(Failed, read, resources))
        await asyncio.to_thread(server.start)
        found.append(await until(Answered, read, resources))
        with server.held():
            assert await ask_once(read, resources, within=0.01) == Late()
            found.append(await until(Failed, read, resources))
        return [*found, await until(Answered, read, resources)]

    options = {"timeout": 0.1, "most_failures": 2, "pause": 0.05}
    one, down, two, silent, three = with_client(lambda: client(**options), main)
    assert one == two == three == Answered(None)
    assert down.error.startswith("UnansweredError: redis 127.0.0.1:")
    assert ": ConnectionError: " in down.error  # redis-py's own words
    assert "no answer within 0.1 s" in silent.error


def test_a_restart_between_questions_is_not_felt(server, client):
    """Kept connections that it has closed are opened again, before anything is sent."""

    async def main(redis):
        async def ask_all():
            asking = (ask_once(RedisRead(("get", str(one))), {"redis": redis}) for one in range(6))
            return await asyncio.gather(*asking)

        await ask_all()
        server.stop()
        await asyncio.to_thread(server.start)
        return await ask_all()

    assert with_client(client, main) == [Answered(None)] * 6


def test_a_filter_without_a_server_is_told_what_to_declare():
    """With the line to write."""
    assert 'lambda settings: Redis("redis://localhost/0")' in outcome(RedisRead(("get", "a"))).error
