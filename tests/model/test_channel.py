"""Channels: the models brought to a real milter, and to milters that misbehave."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pytest

from demyjpy import AddHeader, AddressError, running
from demyjpy.mta import client_steps
from demyjpy.mta.channel import AsyncChannel, Channel, Timeouts
from demyjpy.mta.milter_link import MilterFailedError, MilterLink
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from demyjpy.mta.smtp import play, play_async, take_step
from demyjpy.mta.smtp_session import Exchange, Outcome, new_session
from tests.integration.filters import body_counter
from tests.integration.scenario import at_end
from tests.model.case import CONTINUE, negotiation, packet
from tests.model.peers import answers, hangs_after, never_reads, peer

SHORT = Timeouts(connect=1, command=0.3, content=0.3)
MESSAGE = b"Subject: s\r\n\r\n" + b"body\r\n" * 40_000
TALK = (
    client_steps.Connect("192.0.2.1", "client.example"),
    client_steps.Ehlo(),
    client_steps.Mail("a@example.org"),
    client_steps.Rcpt("b@example.org"),
    client_steps.Data(MESSAGE),
    client_steps.Quit(),
)


def play_blocking(
    profile: Profile, address: str, talk: Iterable[client_steps.ClientStep], timeouts: Timeouts | None
) -> list[Outcome]:
    """A session over a `Channel`."""
    session, outcomes = new_session(profile), []
    with Channel(address, timeouts) as channel:
        for step in talk:
            session, outcome = play(take_step(session, step), [channel])
            outcomes.append(outcome)
    return outcomes


def play_asyncio(
    profile: Profile, address: str, talk: Iterable[client_steps.ClientStep], timeouts: Timeouts | None
) -> list[Outcome]:
    """A session over an `AsyncChannel`."""

    async def converse() -> list[Outcome]:
        session, outcomes = new_session(profile), []
        async with AsyncChannel(address, timeouts) as channel:
            for step in talk:
                session, outcome = await play_async(take_step(session, step), [channel])
                outcomes.append(outcome)
        return outcomes

    return asyncio.run(converse())


PLAYERS = [pytest.param(play_blocking, id="blocking"), pytest.param(play_asyncio, id="asyncio")]
Player = Callable[..., list[Outcome]]

both = pytest.mark.parametrize("play_over", PLAYERS)
everywhere = pytest.mark.parametrize("profile", [Postfix(), Sendmail()], ids=lambda one: one.name)


def codes(outcomes: list[Outcome]) -> list[int]:
    return [outcome.reply.code for outcome in outcomes if outcome.reply]


@both
@everywhere
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
@pytest.mark.parametrize("kind", ["inet", "inet6", "unix"])
def test_real_filter(tmp_path, play_over: Player, profile: Profile, driver, kind):
    """A filter over a socket sees the message and edits it."""
    address = {
        "inet": "inet:0@127.0.0.1",
        "inet6": "inet6:0@::1",
        "unix": f"unix:{tmp_path / 'sock'}",
    }[kind]
    with running(body_counter(), address=address, driver=driver) as bound:
        outcomes = play_over(profile, bound, TALK, None)
    assert codes(outcomes) == [220, 250, 250, 250, 250, 221]
    (mail,) = (outcome.mail for outcome in outcomes if outcome.mail)
    assert mail.message["X-Body"] == "240000 bytes in 4 chunks"


@both
def test_several_messages(play_over: Player):
    """One connection carries message after message."""
    with running(at_end(AddHeader("X-A", "b"))) as address:
        outcomes = play_over(Postfix(), address, (*TALK[:5], *TALK[2:]), None)
    assert [outcome.mail.message["X-A"] for outcome in outcomes if outcome.mail] == ["b", "b"]


@both
def test_nothing_listens(tmp_path, play_over: Player):
    """Where nothing listens, entering fails and says where."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"inet:{port}@127.0.0.1", f"unix:{tmp_path / 'none'}"):
        with pytest.raises(MilterFailedError, match=address) as caught:
            play_over(Postfix(), address, TALK, SHORT)
        assert caught.value.event == "connecting"


@both
def test_connecting_takes_too_long(play_over: Player):
    """A milter that does not accept in time cannot be connected with."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # more than may wait
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        address = f"inet:{listener.getsockname()[1]}@127.0.0.1"
        with pytest.raises(MilterFailedError, match=r"connecting: .* no answer within 0.2 s"):
            play_over(Postfix(), address, TALK, Timeouts(0.2, 0.2, 0.2))


@both
def test_no_such_address(play_over: Player):
    """An inherited socket is nothing to connect with."""
    with pytest.raises(AddressError, match="expected the address of a milter, got fd:3"):
        play_over(Postfix(), "fd:3", TALK, SHORT)


@both
@everywhere
@pytest.mark.parametrize("is_unix", [False, True])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((), "options"),
        ((negotiation(),), "connect"),
        ((negotiation(), *[CONTINUE] * 2), "mail"),
        ((negotiation(), *[CONTINUE] * 5, packet("p")), "header"),
        ((negotiation(), *[CONTINUE] * 7), "body"),
        ((negotiation(), *[CONTINUE] * 11, b"\0\0"), "end_of_message"),
    ],
)
def test_hangs(play_over: Player, profile: Profile, is_unix, said, reason):
    """A milter that says nothing more fails when its time is up, and the session goes on."""
    with peer(hangs_after(*said), is_unix=is_unix) as address:
        outcomes = play_over(profile, address, TALK, SHORT)
    (failure,) = (failure for outcome in outcomes for failure in outcome.failures)
    is_nonsense = reason == "header" and profile.habits.fails_late
    assert failure.event == reason
    assert failure.reason == (
        "expected an answer to header, got Progress()" if is_nonsense else "no answer within 0.3 s"
    )
    assert 451 in codes(outcomes)
    assert codes(outcomes)[-1] == 221
    assert not any(outcome.mail for outcome in outcomes)


@both
@pytest.mark.parametrize(
    "profile", [Postfix(default_action="accept"), Sendmail(default_action="accept")]
)
@pytest.mark.parametrize("ends", [hangs_after, answers], ids=["hangs", "closes"])
def test_what_it_had_asked_for_is_done(play_over: Player, profile: Profile, ends):
    """Both MTAs carry out an edit as soon as they have read it, however the milter fails after that."""
    edit = packet("h", b"X-A\0b\0")
    with peer(ends(negotiation(), *[CONTINUE] * 11, edit)) as address:
        outcomes = play_over(profile, address, TALK, SHORT)
    (failure,) = (failure for outcome in outcomes for failure in outcome.failures)
    assert failure.event == "end_of_message"
    (mail,) = (outcome.mail for outcome in outcomes if outcome.mail)
    assert mail.message["X-A"] == "b"


@both
@everywhere
@pytest.mark.parametrize("count", range(12))
def test_closes(play_over: Player, profile: Profile, count):
    """A milter that closes, wherever that is, costs a tempfail."""
    with peer(answers(negotiation(), *[CONTINUE] * count)) as address:
        outcomes = play_over(profile, address, TALK, SHORT)
    assert 451 in codes(outcomes)
    assert codes(outcomes)[-1] == 221
    assert not any(outcome.mail for outcome in outcomes)


@both
@everywhere
@pytest.mark.parametrize("garbage", [b"HTTP/1.1 200 OK\r\n\r\n", bytes(100), b"\xff" * 100])
def test_garbage(play_over: Player, profile: Profile, garbage):
    """A program that is no milter costs a tempfail."""
    with peer(answers(garbage)) as address:
        outcomes = play_over(profile, address, TALK, SHORT)
    assert codes(outcomes)[2] == 451


@both
def test_never_reads(play_over: Player):
    """A milter that takes nothing more fails when its time is up, while the body is written."""
    released = threading.Event()
    talk = (*TALK[:4], client_steps.Data(b"X: y\r\n\r\n" + b"x" * 78 * 200_000), client_steps.Quit())
    with peer(never_reads(released)) as address:
        outcomes = play_over(Sendmail(), address, talk, SHORT)
        released.set()
    (failure,) = (failure for outcome in outcomes for failure in outcome.failures)
    assert failure.event in ("quit", "end_of_message")
    assert codes(outcomes)[4:] == [451, 221]


@both
@everywhere
def test_gone_between_messages(play_over: Player, profile: Profile):
    """Who is gone when he need not answer is missed only when he is asked again."""
    talk = (*TALK[:5], client_steps.Rset(), *TALK[2:])
    short = client_steps.Data(b"S: t\r\n\r\n")
    talk = tuple(short if isinstance(step, client_steps.Data) else step for step in talk)
    with peer(answers(negotiation(), *[CONTINUE] * 8)) as address:
        outcomes = play_over(profile, address, talk, SHORT)
    assert codes(outcomes) == [220, 250, 250, 250, 250, 250, 451, 503, 503, 221]


@both
def test_only_quit_is_left(play_over: Player):
    """A milter that is gone before QUIT is nobody's business."""
    with peer(answers(negotiation(), CONTINUE, CONTINUE)) as address:
        outcomes = play_over(Postfix(), address, (*TALK[:2], client_steps.Quit()), SHORT)
    assert codes(outcomes) == [220, 250, 221]
    assert not any(outcome.failures for outcome in outcomes)


def test_closing_takes_too_long():
    """What the milter does not take in time is not written when the channel is closed."""
    released = threading.Event()

    async def fill(address: str) -> None:
        async with AsyncChannel(address, SHORT) as channel:
            link = MilterLink(Postfix().offer, Postfix().strictness)
            while not channel._writer.transport.get_write_buffer_size():
                await channel.carry_out(Exchange(0, (bytes(16_384),), link))

    waited: list[bool] = []
    with peer(lambda sock: waited.append(released.wait(10)), is_unix=True) as address:
        asyncio.run(fill(address))
        released.set()
    assert waited == [True]  # nothing was read until then


def test_closed_channel():
    """A channel that is closed carries nothing out."""
    exchange = Exchange(0, (b"",), MilterLink(Postfix().offer, Postfix().strictness))
    with pytest.raises(MilterFailedError, match="the connection is closed"):
        Channel(20025).carry_out(exchange)
    with pytest.raises(MilterFailedError, match="the connection is closed"):
        asyncio.run(AsyncChannel(20025).carry_out(exchange))


@pytest.mark.parametrize("name", ["connect", "command", "content"])
def test_timeouts_are_positive(name):
    """A timeout of nothing is refused."""
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: 0})


def test_timeouts_of_events():
    """The content of a message has a timeout of its own."""
    timeouts = Timeouts(1, 2, 3)
    assert [timeouts.of(name) for name in ("options", "data", "body", "end_of_message", None)] == [
        *(2, 2, 3, 3, 2)
    ]
