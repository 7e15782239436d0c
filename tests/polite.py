"""An MTA that keeps to the protocol, as a model: what it says next depends on what it was answered.

Written from the protocol (which verdict ends what), not from the engine, so that the two check each
other. Every command that it says is checked for its answers at once.
"""

from attrs import define, field, frozen
from hypothesis import strategies as st

from demyjpy.wire.codes import ProtocolFlag as P
from demyjpy.wire.framing import Packet
from tests.engine.harness import (
    ABORT,
    ALL_STEPS,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    FINAL,
    HEADER,
    HELO,
    MAIL,
    QUIT,
    RCPT,
    UNKNOWN,
    Session,
    macros,
    offer,
    packet,
    split,
)

OFF = {
    "C": P.NOCONNECT,
    "H": P.NOHELO,
    "M": P.NOMAIL,
    "R": P.NORCPT,
    "T": P.NODATA,
    "L": P.NOHDRS,
    "N": P.NOEOH,
    "B": P.NOBODY,
    "U": P.NOUNKNOWN,
}
QUIET = {
    "C": P.NR_CONN,
    "H": P.NR_HELO,
    "M": P.NR_MAIL,
    "R": P.NR_RCPT,
    "T": P.NR_DATA,
    "L": P.NR_HDR,
    "N": P.NR_EOH,
    "B": P.NR_BODY,
    "U": P.NR_UNKN,
}
NEVER_ANSWERED = "DAQK"


@frozen
class Letter:
    """One thing to say in a message: a packet, and whether macros go before it."""

    packet: Packet
    defined: dict[str, str] = field(factory=dict)

    @property
    def name(self) -> str:
        """The command's letter."""
        return chr(self.packet[0])


@frozen
class Message:
    """What to say from MAIL on, if nothing stops it; ``abort`` is said at the end, as Postfix does."""

    letters: tuple[Letter, ...]
    abort: bool


@define
class Mta:
    """A polite MTA on one connection."""

    session: Session
    steps: int = ALL_STEPS
    agreed: P = P.NONE
    is_over: bool = False
    """Whether the session has been refused, or accepted for good."""
    heard: list[str] = field(factory=list)
    """What each command was answered."""

    def open(self) -> None:
        """Negotiate, and say what comes before a message."""
        (reply,) = split(self.session.say_bytes(offer(steps=self.steps)))
        assert chr(reply[0]) == "O"
        self.agreed = P(int.from_bytes(reply[1][8:12], "big"))
        assert not self.agreed & ~P(self.steps)
        for one in (CONNECT, HELO):
            self._say_before_message(one)

    def greet_again(self) -> None:
        """A second EHLO."""
        self._say_before_message(HELO)

    def _say_before_message(self, one: Packet) -> None:
        if not self.is_over:
            self.session.say_bytes(macros(chr(one[0]), j="mx"))
            self.is_over = self._say(one) in set("arty")

    def _say(self, one: Packet) -> str:
        """Say one command unless it was declined; check its answers; the letter of the verdict."""
        letter = chr(one[0])
        if OFF.get(letter, P.NONE) & self.agreed:
            return ""
        sent = split(self.session.say_bytes(one))
        check_answers(letter, sent, self.agreed)
        assert not self.session.is_closed
        verdict = chr(sent[-1][0]) if sent else ""
        self.heard.append(letter + verdict)
        return verdict

    def deliver(self, message: Message) -> None:
        """Say a message, until it is over in one way or another."""
        body_is_wanted = True
        for one in message.letters:
            if self.is_over:
                return
            if (one.defined and one.name not in "LNB") or not OFF.get(one.name, P.NONE) & self.agreed:
                self.session.say_bytes(macros(one.name, **one.defined))
            if one.name == "B" and not body_is_wanted:
                continue
            verdict = self._say(one.packet)
            if verdict == "s":
                body_is_wanted = False
            elif (one.name == "R" and verdict in set("rty")) or one.name == "U":
                continue
            elif verdict and verdict in "artyd":
                break
        if message.abort:
            self._say(ABORT)

    def quit(self) -> None:
        """The session's end."""
        if not self.session.is_closed:
            assert self.session.say(QUIT) == ""
        assert self.session.is_closed


def check_answers(letter: str, sent: list[Packet], agreed: P) -> None:
    """Exactly the answers that are due to a command: one verdict, or none."""
    said = [chr(one[0]) for one in sent]
    if letter in NEVER_ANSWERED or QUIET.get(letter, P.NONE) & agreed:
        assert said == []
        return
    assert said, f"{letter} was not answered"
    *before, final = said
    assert ord(final) in FINAL
    assert not before or (letter == "E" and not FINAL & {ord(one) for one in before})
    assert final != "s" or (letter == "B" and agreed & P.SKIP)
    assert final != "d" or letter not in "CHU"
    assert final != "a" or letter != "U"


# ------------------------------------------------------------------------------------ strategies
_values = st.dictionaries(
    st.sampled_from(["i", "auth_authen", "rcpt_mailer", "x"]),
    st.sampled_from(["1", "2", "error"]),
    max_size=2,
)


def _say(*packets: Packet) -> st.SearchStrategy[Letter]:
    return st.builds(Letter, st.sampled_from(packets), st.one_of(st.just({}), _values))


def _some(*packets: Packet, most: int = 2) -> st.SearchStrategy[list[Letter]]:
    return st.lists(_say(*packets), max_size=most)


_other = packet("M", b"<carol@example.org>\0SIZE=5\0")
_parts = st.tuples(
    st.builds(lambda one: [one], _say(MAIL, _other)),
    _some(RCPT, packet("R", b"<dan@example.org>\0"), UNKNOWN, most=3),
    _some(DATA, most=1),
    _some(HEADER, packet("L", b"To\0bob\0"), UNKNOWN, most=3),
    _some(EOH, most=1),
    _some(BODY, packet("B", b"more\r\n"), most=3),
    st.builds(lambda one: [one], _say(EOM, packet("E", b"last\r\n"))),
)


@st.composite
def messages(draw: st.DrawFn, *, whole: bool = False) -> Message:
    """A message as an MTA may send it: any step may be missing, and it may end before its end."""
    found = [one for part in draw(_parts) for one in part]
    is_whole = whole or draw(st.booleans())
    end = len(found) if is_whole else draw(st.integers(1, len(found)))
    return Message(tuple(found[:end]), abort=draw(st.booleans()) if is_whole else True)


offered_steps = st.one_of(
    st.just(ALL_STEPS),
    st.just(0x7F),
    st.just(0x40),
    st.integers(0x7F, ALL_STEPS).map(lambda n: n | 0x7F),
)
"""Protocol bits that an MTA offers: all, those of version 2, hardly any, or some."""
