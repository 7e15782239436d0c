"""Laws of the engine: it never raises, answers what is due, tells ends once, and leaks nothing.

All hold on the hot path, and in turns that never take it.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.actions import ReplyCode
from demyjpy.engine.connection import Limits
from demyjpy.handlers import merge_handlers
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.framing import join_frame
from tests.anyfilters import AnyFilter, Notebook, look, several_filters, tidy_filters
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HEADER,
    HELO,
    MAIL,
    QUIT,
    QUIT_NC,
    RCPT,
    UNKNOWN,
    WAYS,
    Session,
    join,
    macros,
    offer,
    packet,
    split,
)
from tests.examples import share_of
from tests.polite import Message, Mta, check_answers, messages, offered_steps
from tests.strategies import chunks_of, packets

common = st.sampled_from(
    [
        CONNECT,
        HELO,
        MAIL,
        RCPT,
        DATA,
        HEADER,
        EOH,
        BODY,
        EOM,
        packet("E", b"last"),
        ABORT,
        UNKNOWN,
        macros("M", i="1"),
        macros("R", rcpt_mailer="error"),
        macros("E", i="2", x="3"),
        packet("B", b"x" * 40),
    ]
)
rare = st.one_of(packets, st.sampled_from([QUIT, QUIT_NC, offer(), packet("D"), packet("C", b"x")]))
streams = st.lists(st.one_of(common, common, common, common, common, rare), max_size=14)
policies = st.sampled_from(
    [
        "tempfail",
        "accept",
        "reject",
        lambda error, event, ctx: ctx,
        lambda error, event, ctx: None,
        lambda error, event, ctx: ctx.set("queue", (ReplyCode(451, "4.3.0", str(error)[:9]),)),
        lambda error, event, ctx: 1 / 0,
    ]
)
tight = Limits(headers=2, recipients=2, message=60)
ways = st.sampled_from(WAYS)
setups = st.fixed_dictionaries(
    {"on_error": policies, "limits": st.sampled_from([Limits(), tight]), "way": ways}
)
offers = offered_steps.map(lambda steps: offer(steps=steps))


def always(handler: Any) -> bool:
    """Every handler is handed out."""
    return True


def open_session(filters: list[AnyFilter], notebook: Notebook, **setup: Any) -> Session:
    """A connection with these filters merged."""
    return Session.open(merge_handlers(*[one.registry(notebook) for one in filters]), **setup)


def record(filters: list[AnyFilter], chunks: list[bytes], **setup: Any) -> tuple[Any, ...]:
    """All that can be seen of a session from outside, and all that handlers saw of it."""
    notebook = Notebook()
    session = open_session(filters, notebook, **setup)
    session.play_out(chunks)
    return session.sent, notebook.calls, log_of(session)


def log_of(session: Session) -> list[tuple[Any, ...]]:
    """What went wrong, but for the bytes that are shown of a packet that has not come as a whole."""
    return [
        (
            type(one.error),
            getattr(one.error, "expected", str(one.error)),
            one.event,
            one.handler,
            one.queue_id,
        )
        for one in session.troubles
    ]


@settings(max_examples=share_of(150))
@given(several_filters, offers, streams, setups)
def test_whatever_comes_each_command_gets_what_is_due(filters, opening, stream, setup):
    """After any packets and any handlers: one verdict to each command that waits for one, else none."""
    session = open_session(filters, Notebook(), **setup)
    agreed = ProtocolFlag.NONE
    for one in [opening, *stream]:
        was_closed = session.is_closed
        sent = split(session.say_bytes(one))
        if was_closed:
            assert sent == []
        elif session.is_closed:
            assert all(chr(letter) != "O" for letter, _ in sent)
            assert len(sent) <= 1
        elif chr(one[0]) == "O":
            assert [chr(letter) for letter, _ in sent] == ["O"]
            agreed = ProtocolFlag(int.from_bytes(sent[0][1][8:12], "big"))
        else:
            check_answers(chr(one[0]), sent, agreed)
    session.hang_up()
    assert session.is_closed
    assert session.connection.data_to_send == b""


@settings(max_examples=share_of(100))
@given(several_filters, st.binary(max_size=60), offers, streams, ways)
def test_garbage_is_survived(filters, garbage, opening, stream, way):
    """Raw bytes in place of packets close a connection at most; nothing is raised."""
    for start in ([], [opening, *stream]):
        session = open_session(filters, Notebook(), way=way)
        session.feed(join(start) + garbage)
        session.hang_up()
        assert session.is_closed


@settings(max_examples=share_of(100))
@given(several_filters, offers, streams, setups)
def test_ends_are_told_once(filters, opening, stream, setup):
    """Each connection ends with one disconnect for each filter; each message has at most one abort."""
    notebook = Notebook()
    session = open_session(filters, notebook, **setup)
    sessions, is_open = 1, False
    for one in [opening, *stream]:
        letter, start = chr(one[0]), len(notebook.calls)
        sent = session.say(one)
        aborted = [seen.number for seen in notebook.calls[start:] if seen.name == "Abort"]
        assert len(aborted) == len(set(aborted))
        assert not aborted or is_open or letter in "MRTLNBE"
        sessions += letter == "K" and not session.is_closed
        if letter in "AQKHE" or (letter != "U" and sent[-1:] in set("ad")):
            is_open = False
        elif letter in "MRTLNB" and not session.is_closed:
            is_open = letter == "R" or not sent or sent in "cs"
    session.hang_up()
    session.hang_up()
    for number, one in enumerate(filters):
        ends = [seen for seen in notebook.of("Disconnect") if seen.number == number]
        assert len(ends) == (sessions if "disconnect" in one.handlers else 0)


@given(several_filters, offers, streams, setups, st.data())
def test_how_the_stream_is_cut_does_not_matter(filters, opening, stream, setup, data):
    """The same bytes in other pieces give the same answers, the same calls, the same log."""
    whole = join([opening, *stream]) + data.draw(
        st.sampled_from([b"", b"\0\0", b"\0\0\0\0\0", b"\xff" * 5])
    )
    pieces = data.draw(chunks_of(whole))
    assert record(filters, pieces, **setup) == record(filters, [whole], **setup)


@given(several_filters, offers, streams, setups)
def test_handlers_that_are_handed_out_come_to_the_same(filters, opening, stream, setup):
    """Whether the engine or the driver calls a handler makes no difference."""
    chunks = [join_frame(*one) for one in [opening, *stream]]
    assert record(filters, chunks, defers=always, **setup) == record(filters, chunks, **setup)


@given(several_filters, offers, streams, ways, st.data())
def test_bytes_that_come_while_a_handler_is_out_wait(filters, opening, stream, way, data):
    """Reads and returning handlers may alternate in any way."""
    whole = join([opening, *stream])
    notebook = Notebook()
    session = open_session(filters, notebook, defers=always, way=way)
    for chunk in data.draw(chunks_of(whole)):
        session.feed(chunk)
        for _ in range(data.draw(st.integers(0, 3))):
            if session.connection.call:
                session.call()
    session.finish_calls()
    session.hang_up()
    session.finish_calls()
    assert (session.sent, notebook.calls, log_of(session)) == record(filters, [whole])


@given(several_filters, offers, streams, st.integers(0, 12), setups)
def test_a_peer_may_go_while_a_handler_is_out(filters, opening, stream, calls, setup):
    """After hanging up nothing is sent; the handler's return still ends the connection, once."""
    notebook = Notebook()
    session = open_session(filters, notebook, defers=always, **setup)
    session.feed(join([opening, *stream]))
    for _ in range(calls):
        if session.connection.call:
            session.call()
    session.hang_up()
    sent = session.sent
    session.feed(join(stream))
    session.finish_calls()
    session.hang_up()
    assert session.is_closed
    assert session.sent == sent
    renewed = sum(one[0] == QUIT_NC[0] for one in stream)
    for number, one in enumerate(filters):
        ends = [seen for seen in notebook.of("Disconnect") if seen.number == number]
        if "disconnect" in one.handlers:
            assert 1 <= len(ends) <= 1 + renewed
        aborts = [seen for seen in notebook.of("Abort") if seen.number == number]
        assert len(aborts) <= sum(chr(one[0]) in "MRTLNBE" for one in stream)


@given(several_filters, offers, streams, setups, st.booleans())
def test_being_watched_changes_nothing(filters, opening, stream, setup, is_broken):
    """An observer sees steps; whether there is one, even one that raises, changes neither side."""
    steps: list[Any] = []

    def observe(step: Any) -> None:
        steps.append(step)
        if is_broken:
            raise ValueError("observer")

    chunks = [join([opening, *stream])]
    sent, calls, troubles = record(filters, chunks, observer=observe, **setup)
    others = [one for one in troubles if one[2] != "observer"]
    assert (sent, calls, others) == record(filters, chunks, **setup)
    assert b"".join(step.sent for step in steps) == sent
    assert len(troubles) - len(others) == (len(steps) if is_broken else 0)


# ------------------------------------------------------------------------------------- no leaks
histories = st.lists(st.one_of(messages(), st.none()), max_size=4)
"""Messages, and None for another EHLO."""


def after(
    history: list[Message | None], message: Message, filters: list[AnyFilter], **setup: Any
) -> Any:
    """What is answered to a message, what handlers see of it, and what an observer sees."""
    steps: list[Any] = []
    offered = setup.pop("steps")
    if setup.pop("is_watched"):
        setup["observer"] = lambda step: steps.append(
            (step.event, look(step.before), look(step.after), step.sent)
        )
    notebook = Notebook()
    session = open_session(filters, notebook, **setup)
    mta = Mta(session, offered)
    mta.open()
    for one in history:
        if one is None:
            mta.greet_again()
        else:
            mta.deliver(one)
    sent, calls, heard, watched = len(session.sent), len(notebook.calls), len(mta.heard), len(steps)
    mta.deliver(message)
    told = session.sent[sent:], mta.heard[heard:], notebook.calls[calls:], steps[watched:]
    mta.quit()
    return told


@settings(max_examples=share_of(150))
@given(tidy_filters, offered_steps, histories, messages(whole=True), setups, st.booleans())
def test_nothing_leaks_from_one_message_to_the_next(filters, steps, history, message, setup, is_watched):
    """A message after any others is answered, and seen by handlers, as if it were the first."""
    setup = {**setup, "steps": steps, "is_watched": is_watched}
    assert after(history, message, filters, **setup) == after([], message, filters, **setup)


@given(tidy_filters, offered_steps, st.lists(messages(), max_size=3), setups)
def test_a_polite_mta_is_never_hung_up_on(filters, steps, history, setup):
    """An MTA that keeps to the protocol is answered until it quits."""
    session = open_session(filters, Notebook(), **setup)
    mta = Mta(session, steps)
    mta.open()
    for message in history:
        mta.deliver(message)
        assert not session.is_closed
    mta.quit()
