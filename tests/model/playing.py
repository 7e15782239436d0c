"""Playing in the models what is put to the real servers, with an outcome of the same shape."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink, hear
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from demyjpy.mta.smtp import Carrier, play, take_step
from demyjpy.mta.smtp_path import split_path
from demyjpy.mta.smtp_session import Exchange, Outcome, new_session
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.testing.memory_filter import MemoryFilter
from tests.integration.scenario import Expected, Mta, Scenario, as_expected, ordered
from tests.integration.scenario import Mail as DeliveredMail
from tests.integration.smtp import CLOSED, Delivery, Step
from tests.model.case import CONTINUE, GONE, Answers, Case, negotiation

PROFILES: Final[dict[Mta, Profile]] = {
    "postfix": Postfix(next_hop="[127.0.0.1]"),
    "sendmail": Sendmail(next_hop="[127.0.0.1]"),
}
REFUSED: Final = "5.1.1 refused by the server"


@frozen
class Played:
    """What a client saw, what was delivered, and what was held."""

    replies: tuple[str, ...]
    delivered: tuple[DeliveredMail, ...]
    held: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def as_steps(said: Step) -> client_steps.ClientStep:
    """What a client says, as a step."""
    if isinstance(said, bytes):
        return client_steps.Data(said)
    verb, _, argument = said.partition(" ")
    match verb.upper():
        case "EHLO" | "HELO":
            return client_steps.Ehlo(argument, verb)
        case "MAIL":
            raw, address, parameters = _path(argument)
            return client_steps.Mail(address, parameters, raw)
        case "RCPT":
            raw, address, parameters = _path(argument)
            refused = REFUSED if address.endswith("@refused.test") else None
            return client_steps.Rcpt(address, parameters, raw, refused, by_rule=True)
        case "RSET":
            return client_steps.Rset()
        case "QUIT":
            return client_steps.Quit()
        case _:
            return client_steps.Command(said)


def _path(argument: str) -> Any:
    path = split_path(argument.partition(":")[2])
    if path is None:
        raise ValueError(f"expected FROM:<a@b> or TO:<a@b>, got {argument!r}")
    return path


def play_steps(
    profile: Profile, said: Iterable[Step], milters: Sequence[Carrier], client: str = "127.0.0.1"
) -> Played:
    """A whole session; after the last step the client is gone."""
    session = new_session(profile, len(milters))
    name = "localhost" if client == "127.0.0.1" else None
    replies: list[str] = []
    outcomes: list[Outcome] = []
    todo: list[client_steps.ClientStep] = [client_steps.Connect(client, name), *map(as_steps, said)]
    for step in todo:
        if session.is_closed:
            replies.append(CLOSED)
            continue
        session, outcome = play(take_step(session, step), milters)
        replies += [str(reply) for reply in (outcome.interim, outcome.reply) if reply]
        outcomes.append(outcome)
    if not session.is_closed:
        session, outcome = play(take_step(session, client_steps.Drop()), milters)
        outcomes.append(outcome)
    mails = [outcome.mail for outcome in outcomes if outcome.mail]
    held = tuple(_held(profile, mail) for mail in mails if mail.quarantine is not None)
    delivered = ordered(_delivered(mail) for mail in mails if mail.quarantine is None)
    return Played(tuple(replies), delivered, held, tuple(outcomes))


def _held(profile: Profile, mail: StoredMail) -> str:
    reason = None if isinstance(profile, Postfix) else mail.quarantine
    return f"{mail.envelope.sender}: {reason}"


def _delivered(mail: StoredMail) -> DeliveredMail:
    """As the next hop gets it: RFC 5321 paths, the message as bytes."""
    envelope = mail.envelope
    content = bytes(mail.message)
    sender = " ".join([envelope.sender, *_passed_on(envelope.parameters.as_words())])
    recipients = tuple(
        " ".join([address, *parameters.as_words()]) for address, parameters in envelope.recipients
    )
    return DeliveredMail.from_delivery(Delivery(sender, recipients, content))


def _passed_on(words: Iterable[str]) -> list[str]:
    """SIZE is said by each hop for itself."""
    return [word for word in words if not word.upper().startswith("SIZE=")]


def play_scenario(scenario: Scenario, mta: Mta) -> Expected:
    """What comes of a scenario; replies as far as they agree with it are cut to what it says."""
    setup = Setup(as_on_connect(scenario.handlers), scenario.on_error)
    with MemoryFilter(setup) as milter:
        played = play_steps(PROFILES[mta], scenario.steps, [milter], scenario.client)
        milter.end()
    wanted = scenario.expected(mta).replies
    return Expected(as_expected(played.replies, wanted), played.delivered, played.held)


class ScriptedFilter:
    """A milter that says what a case tells it to, and keeps what it hears."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._is_gone = False
        self._unread = b""
        self._counts: dict[str, int] = {}
        self.heard: list[bytes] = []

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read the answer."""
        event = exchange.link.event
        said, self._unread = self._unread, b""
        if self._answers is None and event is not None:
            raise MilterFailedError(event, "nobody listens")
        for frame in () if self._is_gone else _frames(b"".join(exchange.writes)):
            self.heard.append(frame)
            letter = chr(frame[0])
            if letter not in "DAQ":
                said += self._answer(letter)
        if event is None:
            self._unread = said
            return exchange.link, None
        link, answer = hear(exchange.link, said) if said else (exchange.link, None)
        return (link, answer) if answer else hear(link, b"")  # says no more, and a server has no time

    def _answer(self, letter: str) -> bytes:
        count = self._counts.get(letter, 0)
        self._counts[letter] = count + 1
        default = negotiation() if letter == "O" else CONTINUE
        answers = self._answers or {}
        answer = answers.get(f"{letter}{count}", answers.get(letter, default))
        self._is_gone = answer.endswith(GONE)
        return b"" if answer == b"-" else answer.removesuffix(GONE)


def _frames(data: bytes) -> Iterable[bytes]:
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        yield data[4:size]
        data = data[size:]


def play_case(case: Case, mta: Mta) -> tuple[Played, list[list[bytes]]]:
    """What comes of a case, and what each milter heard."""
    milters = [ScriptedFilter(answers) for answers in case.answers]
    profile = evolve(PROFILES[mta], default_action=case.default_action)
    played = play_steps(profile, case.steps, milters)
    return played, [milter.heard for milter in milters]
