"""The explain line from the tape: the same lines as from the steps that an observer sees."""

import re
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import Context, add_header, define_event_handlers, find, merge_handlers, reject
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.trace.live.explain_line import Explainer
from tests.anyfilters import (
    EDITS,
    GOOD,
    VERDICTS,
    AnyFilter,
    filters_of,
    finding_chains,
    several,
    several_filters,
)
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
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    UNKNOWN,
    join,
    keep,
    macros,
    offer,
    packet,
)
from tests.engine.test_hot_path import AS_POSTFIX, mild, setups
from tests.engine.test_hot_path import sessions as usual_sessions
from tests.engine.test_tape import play
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of

TIMES = re.compile(r", \d+\.\d ms$")
BAD = packet("R", b"<bad" + b"x" * 40 + b"@example.org>\0NOTIFY=NEVER\0")
OTHER = packet("M", b"<carol@example.org>\0SIZE=5\0")

told_macros = st.builds(
    lambda letter, said: packet("D", letter.encode() + said),
    st.sampled_from("CHMRTLNBEAQ"),
    st.sampled_from(
        [
            b"i\0004711\0",
            b"j\0mx\0{i}\0AB\0i\0CD\0",
            b"i\0" + b"long" * 9 + b"\0",
            b"j\0i\0",
            b"i\0",
            b"i\0\0",
            b"",
        ]
    ),
)


@st.composite
def sessions(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Messages with queue ids that come and go, that are given up, or that end otherwise."""
    told = [*OPENING[1:]]
    for _ in range(draw(st.integers(1, 3))):
        parts = [
            *draw(st.sampled_from([(MAIL,), (OTHER,), (ABORT, MAIL), ()])),
            *draw(st.lists(st.sampled_from([RCPT, BAD]), max_size=3)),
            *draw(st.sampled_from([(DATA,), ()])),
            *draw(st.lists(st.just(HEADER), max_size=2)),
            *draw(st.sampled_from([(EOH,), ()])),
            *draw(st.lists(st.just(BODY), max_size=2)),
        ]
        parts = parts[: draw(st.integers(0, 40))]
        parts += draw(st.sampled_from([(EOM,)] * 5 + [(ABORT,), (QUIT_NC, *OPENING[1:]), (HELO,), ()]))
        for part in parts:
            told += draw(st.lists(told_macros, max_size=2))
            told += [UNKNOWN, part] if draw(st.integers(0, 30)) == 30 else [part]
    return [*told, *draw(st.sampled_from([(QUIT,), ()]))]


def explained(way: str, filters: list[AnyFilter], chunks: list[bytes], **setup: Any) -> list[str]:
    """The lines of a session without their times."""
    lines: list[str] = []
    explainer = Explainer(lines.append, length=20)
    if way == "tape":
        play(filters, chunks, explainer.read, **setup)
    else:
        setup.pop("keeps_bodies"), setup.pop("share")
        play(filters, chunks, observer=explainer, clock=count().__next__, **setup)
    assert not explainer._sessions
    return [TIMES.sub("", line) for line in lines]


many = st.one_of(
    mild,
    several_filters,
    several(filters_of(GOOD, EDITS)),
    several(filters_of(VERDICTS)),
    finding_chains,
)


@settings(max_examples=share_of(500))
@given(many, offered_steps, st.one_of(sessions(), usual_sessions()), setups, st.data())
def test_the_tape_gives_the_lines_that_an_observer_gives(filters, steps, told, setup, data):
    """The same bytes, on the hot path with a tape and with an observer: the same lines but for times."""
    names = data.draw(
        st.sets(st.sampled_from(["recipient", "body", "end_of_message", "abort"]), max_size=2)
    )
    setup = {
        "defers": lambda handler: handler.event in names,
        "keeps_bodies": data.draw(st.booleans()),
        "share": data.draw(st.sampled_from([0, 2048, 1 << 16])),
        **setup,
    }
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    assert explained("tape", filters, chunks, **setup) == explained("observer", filters, chunks, **setup)


# ------------------------------------------------------------------------------------- by example
START = "session session: "
OTHER_RCPT = packet("R", b"<dan@example.org>\0")
TO_DAN = "<alice@example.org> -> <dan@example.org>"
FROM = "from client.example [192.0.2.1]"
ALICE_TO_BOB = "<alice@example.org> -> <bob@example.org>"


def told_by(
    handlers: Any, *packets: Any, length: int = 320, share: int = 1 << 16
) -> tuple[list[str], list[Stretch]]:
    """The lines of a session that is read packet by packet, without times, and its stretches.

    An observer gives the same lines.
    """
    lines: list[str] = []
    stretches: list[Stretch] = []
    explainer = Explainer(lines.append, length=length)

    def read(stretch: Stretch) -> None:
        stretches.append(stretch)
        explainer.read(stretch)

    observed: list[str] = []
    observer = Explainer(observed.append, length=length)
    clock = count(1).__next__
    tape = Tape(read, clock, clock, keeps_bodies=explainer.keeps_bodies, share=lambda: share)
    for setup, kept in (
        (Setup(as_on_connect(handlers)), tape),
        (Setup(as_on_connect(handlers), observer=observer, clock=clock), None),
    ):
        line = Line(open_connection(setup, "session"), kept)
        for one in packets:
            line.receive_data(join([one]))
        if not line.leave().is_closed:
            line.hang_up()
    found = [TIMES.sub("", one) for one in lines]
    assert found == [TIMES.sub("", one) for one in observed]
    return found, stretches


def all_events(**others: Any) -> Any:
    """A filter that wants to see everything."""
    names = ("connect", "hello", "mail", "recipient", "data", "header", "end_of_headers", "body")
    handlers = dict.fromkeys((*names, "end_of_message", "abort"), keep)
    return define_event_handlers({**handlers, **others}, actions={"add_header"})


def test_a_plain_session_never_leaves_the_hot_path_and_has_its_lines():
    """After the negotiation all stretches are plain; a message is a line, with who changed it."""

    def tag(event: Any, ctx: Context) -> Context:
        return add_header(ctx, "X-Tag", "yes")

    handlers = all_events(end_of_message=tag)
    lines, stretches = told_by(handlers, *OPENING, *AS_POSTFIX, *AS_POSTFIX, MAIL, ABORT, QUIT)
    name = f"{__name__}.{tag.__qualname__}"
    assert lines == [
        f"{START}4711 {ALICE_TO_BOB} {FROM}: accepted, 1 change by {name} (X-Tag added)",
        f"{START}4711 {ALICE_TO_BOB} {FROM}: accepted, 1 change by {name} (X-Tag added)",
        f"{START}session#3 <alice@example.org> -> ? {FROM}: given up at abort",
    ]
    assert [one.steps is None for one in stretches] == [False, *[True] * (len(stretches) - 1)]


def test_a_verdict_ends_the_hot_path_within_an_event_that_counts_once():
    """At whatever event that is: what was said is told, and who decided."""

    def refuse(event: Any, ctx: Context) -> Context:
        return ctx if "bob" in repr(event) or "bye" in repr(event) else reject(ctx)

    by = f"{__name__}.{refuse.__qualname__}"
    for name, packets, end in [
        ("mail", (MAIL,), "<alice@example.org> -> ? {}: rejected at mail by {}"),
        ("recipient", (MAIL, RCPT, BAD, EOM), f"{ALICE_TO_BOB} and 1 more {{}}: accepted"),
        ("recipient", (MAIL, OTHER_RCPT, QUIT), "{} {}: rejected at recipient by {}"),
        ("header", (MAIL, RCPT, HEADER), f"{ALICE_TO_BOB} {{}}: rejected at header by {{}}"),
        (
            "end_of_message",
            (MAIL, RCPT, EOM),
            f"{ALICE_TO_BOB} {{}}: rejected at end_of_message by {{}}",
        ),
    ]:
        lines, _ = told_by(all_events(**{name: refuse}), *OPENING, *packets)
        known = (TO_DAN, FROM, by) if end.startswith("{} ") else (FROM, by)
        assert lines == [f"{START}session#1 {end.format(*known)}"]


def test_a_message_that_nobody_asked_about_begins_with_what_is_said_first():
    """Without MAIL and RCPT. Given up, too, even if an abort handler ends the hot path."""

    def add(event: Any, ctx: Context) -> Context:
        return add_header(ctx, "X", "y")

    for abort in (keep, add):
        handlers = define_event_handlers({"body": keep, "abort": abort}, actions={"add_header"})
        lines, _ = told_by(handlers, offer(), BODY, ABORT, BODY, EOM, QUIT)
        assert [line.split(", ")[0] for line in lines] == [
            f"{START}session#1 envelope not seen: given up at abort",
            f"{START}session#2 envelope not seen: accepted",
        ]


def test_the_queue_id_is_the_last_that_a_message_had():
    """From macros of any command before its end; without a value it is none; what is long is cut."""
    of_recipient = (MAIL, macros("R", i="Q1"), RCPT, DATA, EOM)
    of_nothing = (MAIL, macros("R", j="i"), RCPT, BODY, packet("D", b"Ei\0"), EOM)
    of_turn = (macros("M", i="Q3"), UNKNOWN, MAIL, macros("R", j="mx"), RCPT, ABORT)
    of_abort = (MAIL, macros("R", i="Q2" * 40), RCPT, HEADER, macros("A", i="late"), ABORT)
    for packets in (of_recipient, of_turn, of_nothing, of_abort, (MAIL, RCPT, EOM)):
        for share in (0, 1 << 16):
            first, _ = told_by(all_events(), *OPENING, *packets, share=share, length=30)
            packets_before = (macros("C", i="C1"), CONNECT, HELO)
            second, _ = told_by(all_events(), offer(), *packets_before, *packets, share=share, length=30)
            ids = [line.split()[2] for line in (*first, *second)]
            # what came with CONNECT is in force whenever nothing later is
            known = {of_recipient: "Q1", of_abort: "Q2" * 15, of_turn: "Q3"}.get(packets, "session#1")
            assert ids == [known, known if packets is of_turn else "C1"]


def test_a_client_is_told_as_far_as_it_is_kept():
    """A name alone, a path, and an address that is cut."""
    for connect, length, client in [
        (packet("C", b"mx\0U"), 320, "mx"),
        (packet("C", b"mx\0L\0\0/run/x\0"), 320, "mx [/run/x]"),
        (packet("C", b"mx\0L\0\0/run/x\0"), 7, "mx [/run]"),
        (packet("C", b"mx\x004\0\x19192.0.2.1\0"), 11, "mx [192.0.2.]"),
    ]:
        lines, _ = told_by(all_events(), offer(), connect, HELO, MAIL, EOM, QUIT, length=length)
        told = "" if client.endswith(".]") else f" from {client}"
        assert [line.partition("?")[2] for line in lines] == [f"{told}: accepted"]


def test_a_session_after_another_on_one_connection_has_messages_of_its_own():
    """With QUIT_NC it begins anew: what was known of the one before is gone."""
    packets = (*OPENING, MAIL, EOM, QUIT_NC, macros("C", i="C2"), CONNECT, MAIL, RCPT, EOM, QUIT)
    lines, _ = told_by(all_events(), *packets)
    assert lines == [
        f"{START}session#1 <alice@example.org> -> ? {FROM}: accepted",
        f"{START}C2 {ALICE_TO_BOB} {FROM}: accepted",
    ]


def test_a_handler_may_drop_the_macros_from_its_context():
    """The queue id is the MTA's: it is told all the same."""

    def drop(event: Any, ctx: Context) -> Context:
        return ctx.remove("macros")

    packets = (*OPENING, MAIL, RCPT, macros("E", i="Q1"), EOM, QUIT)
    lines, _ = told_by(all_events(end_of_message=drop), *packets)
    assert lines == [f"{START}Q1 {ALICE_TO_BOB} {FROM}: accepted"]


def test_of_a_chain_on_the_hot_path_the_one_who_edits_is_named():
    """Though another one sees the end of the message after it; and findings are those of the chain."""

    def look(event: Any, ctx: Context) -> Context:
        return find(ctx, "spf", "pass")

    editor = define_event_handlers(actions={"add_header"}, name="editor")
    editor.end_of_message(lambda event, ctx: add_header(ctx, "X-A", "b"))
    reader = define_event_handlers(dict(all_events().items()))
    last = define_event_handlers({"mail": look, "end_of_message": look}, name="last")
    lines, stretches = told_by(merge_handlers(reader, editor, last), *OPENING, *AS_POSTFIX, QUIT)
    assert sum(one.ends_message for one in stretches if one.steps is None) == 1
    (line,) = lines
    assert "1 change by editor: " in line
    assert line.endswith(", found spf pass, by last; spf pass, by last")
