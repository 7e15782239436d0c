"""Whether a mail server takes a recipient: against aiosmtpd, and against servers that misbehave."""

import asyncio

import pytest
from aiosmtpd.smtp import SMTP

from demyjpy.lookups.smtp import RecipientProbe
from demyjpy.questions import Answered, Failed
from tests.lookups.servers import ask_once, outcome
from tests.lookups.test_streams import listening


class Mailboxes:
    """Knows bob; what it was told."""

    def __init__(self):
        self.told = []

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802  # aiosmtpd's
        self.told.append((session.host_name, address))
        envelope.mail_from = address
        return "250 Ok"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  # aiosmtpd's
        self.told.append(address)
        local = address.partition("@")[0]
        return {"bob": "250 2.1.5 Ok", "later": "451 4.2.0 later@x is busy"}.get(local, "550 5.1.1 No")

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  # aiosmtpd's
        self.told.append("a mail")
        return "250 Ok"


def test_a_real_server_is_asked_and_gets_no_mail():
    """Yes, no, and not now, which is a failure without the address in it."""

    async def main():
        boxes, protocols = Mailboxes(), []

        def protocol():
            protocols.append(SMTP(boxes, hostname="mx"))
            return protocols[-1]

        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        where = f"inet:{server.sockets[0].getsockname()[1]}@127.0.0.1"
        names = ("bob@x", "eve@x", "later@x")
        async with server:
            found = [
                await ask_once(RecipientProbe(name, where, helo="me.example"), {}) for name in names
            ]
            for _ in range(500):  # until they are closed, by QUIT or by our end
                if all(one.transport is None for one in protocols):
                    break
                await asyncio.sleep(0.002)
        return found, boxes.told, where

    found, told, where = asyncio.run(main())
    assert found == [
        Answered({"is_known": True, "code": 250, "text": "2.1.5 Ok"}),
        Answered({"is_known": False, "code": 550, "text": "5.1.1 No"}),
        Failed(f"RefusedError: stream {where}: expected RCPT to be accepted, got 451 4.2.0"),
    ]
    assert told == [
        *(("me.example", "<>"), "bob@x", ("me.example", "<>"), "eve@x", ("me.example", "<>"), "later@x"),
    ]


@pytest.mark.parametrize("address", ["a@b>\r\nDATA", "a b@x", "ü@x", "", "a@b>", "a\udcff@x", "a" * 321])
def test_an_address_cannot_become_a_second_command(address):
    """Nobody is asked."""
    found = outcome(RecipientProbe(address, "unix:/nowhere/s"))
    assert found.error.startswith("RefusedError: expected an address of printable ASCII")


def told(*replies):
    """What becomes of a probe if a server says this; and what it was told."""
    commands = []

    async def meet(reader, writer):
        for reply in replies:
            writer.write(reply)
            commands.append(await reader.readline())

    async def main():
        async with listening(meet) as where:
            return await ask_once(RecipientProbe("bob@x", where), {})

    return asyncio.run(main()), commands


def test_a_server_that_knows_no_ehlo():
    """It is greeted by HELO, as the RFC wants it; a reply may have many lines."""
    found, commands = told(
        b"220-a\r\n220 b\r\n", b"502 no\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250\r\n"
    )
    assert found == Answered({"is_known": True, "code": 250, "text": ""})
    assert [one.split()[0] for one in commands[:2]] == [b"EHLO", b"HELO"]
    assert commands[2:] == [b"MAIL FROM:<>\r\n", b"RCPT TO:<bob@x>\r\n", b"QUIT\r\n"]


def test_the_text_of_a_reply_is_harmless():
    """A server may send anything, and a filter may log it or send it to a client."""
    replies = [b"220 a\r\n", b"250 a\r\n", b"250 a\r\n", b"550-\x1b[31m\rno\r\n550 \xc2\x9b\0\xff\r\n"]
    assert told(*replies)[0].value["text"] == "\\x1b[31m\\rno \\x9b\\x00\ufffd"


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ((b"421 busy\r\n",), "its greeting: 421"),
        ((b"554 go away\r\n",), "expected its greeting to be accepted, got 554"),
        (
            (b"220 a\r\n", b"250 a\r\n", b"550 5.7.1 no\r\n"),
            "expected MAIL FROM:<> to be accepted, got 550 5.7.1",
        ),
        ((b"SSH-2.0\r\n",), "expected a reply of SMTP, got something else"),
        ((b"220-a\r\n" * 200,), "expected a reply of SMTP, got something else"),
        ((b"220 a\r\n",), "the end of the connection"),
    ],
)
def test_what_is_no_answer(replies, said):
    """The error says at what."""
    assert said in told(*replies)[0].error
