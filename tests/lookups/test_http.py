"""Questions to HTTP services: Python's own server as a program, and one here that shows what it gets."""

import asyncio
import ssl
import sys
from typing import ClassVar

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups.http import Http, HttpGet, HttpPost, _read
from demyjpy.message import Message
from demyjpy.message.content import Kept
from demyjpy.questions import Answered, Failed
from tests.integration.ports import free_port
from tests.lookups.certificate import CERTIFICATE, KEY
from tests.lookups.servers import Server, ask_once, directory, outcome, until, with_client
from tests.lookups.test_streams import listening


@pytest.fixture(scope="module")
def server():
    port = free_port()
    with directory() as where:
        (where / "a b?").write_bytes(b"found")
        options = ("-m", "http.server", port, "--bind", "127.0.0.1", "--directory", where)
        server = Server([sys.executable, *options], port)
        server.start()
        yield server
        server.stop()


def test_a_segment_is_one_whatever_is_in_it(server):
    """What is not there is an answer."""

    async def main(http):
        questions = HttpGet(("a b?",)), HttpGet(("../../etc/passwd",))
        return [await ask_once(one, {"http": http}) for one in questions]

    found, other = with_client(lambda: Http(f"http://127.0.0.1:{server.address}/"), main)
    assert found == Answered({"status": 200, "type": "application/octet-stream", "body": b"found"})
    assert other.value["status"] == 404


def test_a_service_that_crashes_comes_back(server):
    """Killed, or stopped without a word: in both cases it is found again by itself."""

    async def main(http):
        read, resources = HttpGet(("a b?",)), {"http": http}
        found = [await until(Answered, read, resources)]
        server.stop()
        found.append(await until(Failed, read, resources))
        await asyncio.to_thread(server.start)
        found.append(await until(Answered, read, resources))
        with server.held():
            found.append(await until(Failed, read, resources))
        return [*found, await until(Answered, read, resources)]

    options = {"timeout": 0.2, "most_failures": 2, "pause": 0.05}
    url = f"http://127.0.0.1:{server.address}"
    one, down, two, silent, three = with_client(lambda: Http(url, **options), main)
    assert one == two == three
    assert down.error.startswith(f"UnansweredError: http {url}: ConnectError: ")
    assert "no answer within 0.2 s" in silent.error


def answered(answer, *questions, more=None, **options):
    """What becomes of questions to a service that answers with these bytes, and its requests."""
    requests = []

    async def meet(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        requests.append((head, fields, await reader.readexactly(int(fields.get(b"content-length", 0)))))
        writer.write(answer(head) if callable(answer) else answer)
        await writer.drain()

    async def main():
        async with listening(meet) as address:
            port = address.partition(":")[2].partition("@")[0]
            async with Http(f"http://127.0.0.1:{port}/v1", **options) as http:
                return [await ask_once(one, {"http": http, **(more or {})}) for one in questions]

    return asyncio.run(main()), requests


def status(line, body=b""):
    return b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (line, len(body), body)


def test_a_request_is_what_the_question_says():
    """Any bytes are quoted, and the fields of the resource are in each request."""
    question = HttpGet(("x\udcff/y",), {"q": "a&b=c d"})
    found, ((head, fields, _),) = answered(status(b"204 No"), question, headers={"X-Key": "k"})
    assert found == [Answered({"status": 204, "type": "", "body": b""})]
    assert head.startswith(b"GET /v1/x%FF%2Fy?q=a%26b%3Dc%20d HTTP/1.1\r\n")
    assert fields[b"x-key"] == b"k"


def test_a_message_is_sent_from_where_it_lies():
    """With its length, and not in chunks; bytes and texts as they are."""
    small = Message.parse(b"Subject: a\r\n\r\nb\r\n")
    large = Message(
        fields=small.fields, content=Kept(200_000, lambda: (b"x" * 100_000, b"", b"x" * 100_000))
    )
    contents = small, large, "ü", b"\xff"
    found, requests = answered(status(b"200 OK"), *(HttpPost(("c",), one) for one in contents))
    assert {one.value["status"] for one in found} == {200}
    assert [body for *_, body in requests] == [
        *(bytes(small), bytes(large), "ü".encode(), b"\xff"),
    ]
    assert requests[0][1][b"content-type"] == b"application/octet-stream"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(b"503 No"), "UnansweredError: http http://127.0.0.1:"),
        (b"nonsense\r\n\r\n", "UnansweredError: http http://127.0.0.1:"),
        (status(b"200 OK", b"x" * 2_000_000), "of at most 1048576 bytes, got more"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, x\x80\r\nContent-Length: 3\r\n\r\nxxx",
            "as asked for, got one with the encoding gzip, x\\",
        ),
    ],
)
def test_what_is_no_answer(answer, said):
    """A proxy without its server, something else than HTTP, too much, what is compressed."""
    (found,), _ = answered(answer, HttpGet())
    assert said in found.error
    assert "nonsense" not in found.error  # a server may quote the mail


def test_nothing_is_unpacked():
    """It is not asked for, whatever the filter's author says; what is not compressed may be named so."""
    answer = status(b"200 OK", b"x").replace(b"Connection", b"Content-Encoding: Identity\r\nConnection")
    (found,), ((_, fields, _),) = answered(answer, HttpGet(), headers={"Accept-Encoding": "gzip"})
    assert found.value["body"] == b"x"
    assert fields[b"accept-encoding"] == b"identity"


def test_many_small_chunks_do_not_hold_up_the_others():
    """Also if all of them are here already: the loop has its turn between them."""

    class Chunks:
        headers: ClassVar = {}

        async def aiter_raw(self):
            for _ in range(1_000):
                yield b"x"

    async def main():
        turns = []

        async def other():
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        body = await _read(Chunks())
        task.cancel()
        return body, len(turns)

    body, turns = asyncio.run(main())
    assert body == b"x" * 1_000
    assert turns >= 5


def test_interim_responses_do_not_hold_up_the_others():
    """Thousands of them (RFC 9110, section 15.2) may be here already: others have turns between them."""
    flood = 5_000 * b"HTTP/1.1 100 Go on\r\n\r\n"
    turns = []

    async def other():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def main(http):
        resources = {"http": http}
        watching = asyncio.create_task(other())
        found = await ask_once(HttpGet(), resources, 20)
        watching.cancel()
        return found

    async def meet(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(flood + status(b"200 OK", b"x"))
        await writer.drain()
        turns.clear()

    async def play():
        async with listening(meet) as address:
            port = address.partition(":")[2].partition("@")[0]
            async with Http(f"http://127.0.0.1:{port}", timeout=20) as http:
                return await main(http)

    assert asyncio.run(play()).value["body"] == b"x"
    assert len(turns) >= len(flood) // 4_096


def test_a_certificate_that_nobody_has_signed_is_refused(tmp_path):
    """Nothing is sent then."""
    (tmp_path / "pem").write_text(KEY + CERTIFICATE, encoding="ascii")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pem")

    async def main():
        heard = []
        server = await asyncio.start_server(
            lambda reader, writer: heard.append(1), "127.0.0.1", 0, ssl=context
        )
        async with server, Http(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as http:
            return await ask_once(HttpGet(), {"http": http}), heard

    found, heard = asyncio.run(main())
    assert "CERTIFICATE_VERIFY_FAILED" in found.error
    assert heard == []


def test_a_media_type_of_a_server_is_harmless():
    """As text that a filter may log or show."""
    answer = status(b"200 OK").replace(b"Connection", b"Content-Type: \x9b" + b"x" * 5_000 + b"\r\nC")
    (found,), _ = answered(answer, HttpGet())
    assert found.value["type"].isprintable()
    assert len(found.value["type"]) < 1_100


@pytest.mark.parametrize("wrong", ["a\r\nX: y", "a\0", " a", "a ", "a\udcff", "ü", "a" * 999, 3])
def test_a_media_type_that_http_cannot_carry_is_an_error(wrong):
    """When the question is made, and without the type, which may be of a mail."""
    with pytest.raises(HandlerError, match="expected a media type such as text/plain") as error:
        HttpPost(type=wrong)
    assert str(wrong) not in str(error.value).partition(" got ")[2] or wrong == 3
    assert HttpPost(type="text/plain;\tq=1").type
    assert HttpPost(type="").type == ""


def test_a_request_that_cannot_be_sent_says_nothing_against_the_service():
    """A sender's long word must not close it for others, nor stand in the log."""
    asked = [HttpGet(("private" * 10_000,)), HttpGet(("a",))]
    (found, good), _ = answered(status(b"200 OK"), *asked, most_failures=1)
    assert found.error.endswith(
        "expected a request that HTTP can carry, got one that it cannot: InvalidURL"
    )
    assert isinstance(good, Answered)


@pytest.mark.parametrize("wrong", [{"X-Key": "a\nb"}, {"X Key": "a"}])
def test_the_headers_of_a_service_are_checked(wrong):
    """When the filter is loaded, and without the value, which may be secret."""
    with pytest.raises(
        HandlerError, match="expected headers= with names and values that HTTP can carry"
    ):
        Http("http://localhost", headers=wrong)


def test_an_effect_is_done_when_the_service_says_so():
    """Any other status is a failure, which says nothing against the service; each try has the key."""

    def answer(head):
        line = head.partition(b" HTTP")[0].rpartition(b"/")[2]
        return status(line + b" x")

    posts = [HttpPost((str(one),), "private") for one in (200, 204, 302, 401, 404, 429, 500)]
    found, requests = answered(answer, *posts, most_failures=1, more={"effect_key": "7f.1"})
    assert [one.value["status"] for one in found[:2]] == [200, 204]
    for one, code in zip(found[2:], (302, 401, 404, 429, 500), strict=True):
        assert one.error.startswith("RefusedError: http http://127.0.0.1:")
        assert one.error.endswith(f": expected a status of 2xx, got {code}")
    assert [fields[b"idempotency-key"] for _, fields, _ in requests] == [b'"7f.1"'] * 7
    (found,), ((_, fields, _),) = answered(answer, posts[3])
    assert found.value["status"] == 401
    assert b"idempotency-key" not in fields
    (found,), _ = answered(answer, HttpGet(("404",)), more={"effect_key": "7f.1"})
    assert found.value["status"] == 404  # an effect may look something up


def test_redirects_are_answers():
    """They are not followed."""
    (found,), requests = answered(
        b"HTTP/1.1 302 x\r\nLocation: http://192.0.2.1/\r\n\r\n", HttpGet(("a",))
    )
    assert (found.value["status"], len(requests)) == (302, 1)


def test_a_mail_that_makes_the_service_fail_does_not_close_it_for_others():
    """If the service says how to see that it is alive."""

    def answer(head):
        return status(b"200 OK" if b"/ping" in head or b"/good" in head else b"504 Slow")

    asked = [HttpGet(("bad",))] * 4 + [HttpGet(("good",))]
    found, _ = answered(answer, *asked, health=("ping",), most_failures=1)
    assert isinstance(found[-1], Answered)
    found, _ = answered(answer, *asked, most_failures=1)
    assert "was not asked" in found[-1].error


@pytest.mark.parametrize("wrong", ["a/b", [""], ("..",), (".",), (3,)])
def test_segments_are_checked(wrong):
    """When the question is made."""
    with pytest.raises(HandlerError, match="segments of a path"):
        HttpGet(wrong)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x/?a=b", "x"])
def test_a_url_is_checked(url):
    """When the filter is loaded."""
    with pytest.raises(HandlerError, match="expected a URL such as"):
        Http(url)


def test_a_filter_without_a_service_is_told_what_to_declare():
    """With the line to write."""
    assert 'lambda settings: Http("http://localhost:8080")' in outcome(HttpGet()).error
