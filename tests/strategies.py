"""What Hypothesis makes: bytes, texts, events, actions, and filters that do anything."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import EVENTS
from demyjpy.codec.responses import ACTIONS
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Definitions, Parameters, decode_text

# ------------------------------------------------------------------------------- bytes and texts
string_bytes = st.one_of(
    st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"")),
    st.sampled_from(
        [
            b"",
            b"\xff",
            b"\xc3",
            b"\xc3\xa9",
            b"\xed\xa0\x80",
            b"<>",
            b"<a@b>",
            b"a=b=c",
            b"IPv6:::1",
            b"%",
            b" x",
        ]
    ),
)
"""What a ``STR`` may hold: any byte but NUL."""

texts = string_bytes.map(decode_text)
"""Text as it comes from a packet, with surrogates where it was not UTF-8."""

words32 = st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 0x1FF, 0x1FFFFF, 0xFFFFFFFF]))
letters = st.one_of(st.sampled_from(sorted({*EVENTS, *ACTIONS})), st.integers(0, 255))
payloads = st.one_of(
    st.binary(max_size=24),
    st.lists(string_bytes, max_size=4).map(b"\0".join),
    st.lists(string_bytes, max_size=4).map(lambda parts: b"".join(part + b"\0" for part in parts)),
    st.tuples(st.binary(min_size=4, max_size=4), string_bytes, string_bytes).map(
        lambda parts: parts[0] + parts[1] + b"\0" + parts[2] + b"\0"
    ),
)
packets = st.tuples(letters, payloads)


@st.composite
def chunks_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes, cut anywhere."""
    # numbers of one range whatever the data: Hypothesis mutates those much faster
    cuts = sorted(cut % (len(data) + 1) for cut in draw(st.lists(st.integers(0, 65_535), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# ---------------------------------------------------------------------------------------- events
_pairs = st.lists(
    st.tuples(texts.filter(lambda text: "=" not in text), st.one_of(st.none(), texts)), max_size=3
)
_unknown_letters = st.integers(0, 255).filter(lambda letter: letter not in EVENTS).map(chr)
_names = st.sampled_from([row.name for row in EVENTS.values()])


def _connect(host: str, peer: tuple[str, Any, str], port: int) -> ev.Connect:
    family, address, raw = peer
    if family == "U":
        return ev.Connect(host)
    return ev.Connect(host, family, address, port, raw=raw)


_ip4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_ip6 = st.integers(0, 2**128 - 1).map(IPv6Address)
_peers = st.one_of(
    st.just(("U", None, "")),
    _ip4.map(lambda one: ("4", one, str(one))),
    _ip6.map(lambda one: ("6", one, str(one))),
    _ip6.map(lambda one: ("6", one, f"IPv6:{one.exploded}")),
    _ip6.map(lambda one: ("6", one, f"ipv6:{one}")),
    texts.map(lambda path: ("L", path, path)),
)
_simple_events = st.sampled_from(
    [ev.Data(), ev.EndOfHeaders(), ev.EndOfMessage(), ev.Abort(), ev.Quit(), ev.QuitNewConnection()]
)


def events(leading_space: bool) -> st.SearchStrategy[ev.Event]:
    """Every event that can go over the wire, as it would come from there."""
    header = ev.Header.from_raw if leading_space else ev.Header
    envelope = st.tuples(texts, _pairs.map(Parameters))
    return st.one_of(
        st.builds(ev.Options, words32, words32.map(ActionFlag), words32.map(ProtocolFlag)),
        st.builds(
            ev.DefineMacros,
            st.one_of(_names, _unknown_letters),
            st.tuples(st.lists(st.tuples(texts, texts), max_size=3), st.lists(texts, max_size=1)).map(
                lambda given: Definitions([*given[0], *((name, None) for name in given[1])])
            ),
        ),
        st.builds(_connect, texts, _peers, st.integers(0, 0xFFFF)),
        st.builds(ev.Hello, texts),
        envelope.map(lambda given: ev.Mail(*given, raw=given[0])),
        envelope.map(lambda given: ev.Recipient(*given, raw=given[0])),
        st.builds(header, texts.filter(bool), texts),
        st.builds(ev.Body, st.binary(max_size=20)),
        st.builds(ev.Unknown, texts),
        _simple_events,
    )


# --------------------------------------------------------------------------------------- actions
_header_names = st.text(st.sampled_from("!AaZz09-_;~"), min_size=1, max_size=8)
_line = string_bytes.map(lambda data: decode_text(data.translate(None, b"\r\n")))
_values = st.lists(_line, min_size=1, max_size=3).map(
    lambda lines: "\n ".join([lines[0], *(f"x{line}" for line in lines[1:])])
)
_addresses = st.one_of(
    st.from_regex(r"[a-z.+!#-]{1,8}@[a-z]{1,8}\.example", fullmatch=True),
    st.sampled_from(["bob", '"a b, <c>"@x', "\udcff@x", "ä@ö.example"]),
)
_esmtp = st.lists(
    st.tuples(
        st.from_regex(r"[A-Z]{1,6}", fullmatch=True),
        st.one_of(st.none(), st.from_regex(r"[a-z=;,]{0,6}", fullmatch=True)),
    ),
    max_size=3,
).map(Parameters)
_index = st.one_of(st.integers(1, 5), st.sampled_from([act.MAX_INDEX]))
_reply_line = _line.map(lambda line: f"x{line}" if line[:1] in "45" else line)
_enhanced = st.integers(0, 999).map(lambda number: f".{number}.{number}")


@st.composite
def _replies(draw: st.DrawFn) -> act.ReplyCode:
    code = draw(st.integers(400, 599))
    enhanced = draw(st.one_of(st.none(), _enhanced.map(lambda rest: f"{code // 100}{rest}")))
    return act.ReplyCode(code, enhanced, draw(st.lists(_reply_line, min_size=1, max_size=3)))


_macro_names = st.one_of(st.sampled_from("ijv_"), st.from_regex(r"\{[a-z_]{2,8}\}", fullmatch=True))
_negotiates = st.builds(
    act.Negotiate,
    words32,
    words32,
    words32,
    st.lists(st.tuples(words32, st.lists(_macro_names, max_size=3).map(tuple)), max_size=3).map(tuple),
)
verdicts = st.one_of(
    st.sampled_from(
        [
            act.Continue(),
            act.Accept(),
            act.Reject(),
            act.TemporaryFailure(),
            act.Discard(),
            act.Skip(),
        ]
    ),
    _replies(),
)


def modifications(leading_space: bool) -> st.SearchStrategy[act.Modification]:
    """Every modification, without what cannot be told apart on the wire."""

    def header(kind: Any, *index: int) -> Any:
        if leading_space:
            return lambda name, value: kind(*index, name, raw=value)
        return lambda name, value: kind(*index, name, value)

    return st.one_of(
        st.builds(header(act.AddHeader), _header_names, _values),
        st.builds(header(act.InsertHeader, 0), _header_names, _values),
        st.builds(header(act.ChangeHeader, 3), _header_names, _values.filter(bool)),
        st.builds(act.InsertHeader, _index, _header_names, st.just("x")),
        st.builds(act.DeleteHeader, _index, _header_names),
        st.builds(act.AddRecipient, _addresses, _esmtp),
        st.builds(act.DeleteRecipient, _addresses),
        st.builds(act.ChangeSender, st.one_of(st.just(""), _addresses), _esmtp),
        st.builds(act.ReplaceBody, st.binary(max_size=20)),
        st.builds(act.Quarantine, _line.filter(bool)),
    )


def actions(leading_space: bool) -> st.SearchStrategy[act.Action]:
    """Every action that can go over the wire."""
    others = st.sampled_from([act.Progress(), act.Shutdown(), act.ConnectionFailed()])
    return st.one_of(verdicts, modifications(leading_space), _negotiates, others)


# ------------------------------------------------------------------------- arguments of actions
_any_text = st.one_of(
    st.text(max_size=8),
    texts,
    st.sampled_from(["\0", "a\rb", "a\nb", "a\n b", "\ud800", " ", "x" * 70_000, "é" * 40_000]),
)
_any_thing = st.one_of(
    _any_text, st.none(), st.integers(-5, 2**33), st.binary(max_size=3), st.booleans()
)
_any_words = st.one_of(
    _any_thing, st.dictionaries(_any_text, st.one_of(st.none(), _any_text), max_size=2)
)
attempts = st.one_of(
    st.tuples(st.just(act.AddHeader), st.tuples(_any_thing, _any_thing)),
    st.tuples(st.just(act.InsertHeader), st.tuples(_any_thing, st.just("X"), _any_thing)),
    st.tuples(st.just(act.ChangeHeader), st.tuples(_any_thing, st.just("X"), _any_thing)),
    st.tuples(st.just(act.DeleteHeader), st.tuples(st.just(1), _any_thing)),
    st.tuples(st.just(act.AddRecipient), st.tuples(st.just("a@b"), _any_words)),
    st.tuples(st.just(act.AddRecipient), st.tuples(_any_thing)),
    st.tuples(st.just(act.DeleteRecipient), st.tuples(_any_thing)),
    st.tuples(st.just(act.ChangeSender), st.tuples(_any_thing, _any_words)),
    st.tuples(st.just(act.Quarantine), st.tuples(_any_thing)),
    st.tuples(st.just(act.ReplaceBody), st.tuples(_any_thing)),
    st.tuples(
        st.just(act.ReplyCode),
        st.tuples(
            st.one_of(_any_thing, st.just(550)),
            st.one_of(_any_thing, st.just("5.7.1")),
            st.one_of(_any_thing, st.lists(_any_thing, max_size=2)),
        ),
    ),
)
"""Action classes with arguments of every kind, most of them bad."""
