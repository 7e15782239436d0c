"""Filters that ask, served over real sockets and recorded; then replayed where nobody can be asked."""

import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from demyjpy import Reject, add_header, define_event_handlers, do, merge_handlers, reject, running
from demyjpy.events import EndOfMessage, Mail, Recipient
from demyjpy.questions import Question, answer, ask
from demyjpy.trace import Trace, load
from demyjpy.trace.live.recorder import Recorder
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter, replay
from tests.drivers.peer import Peer

SESSIONS = 40
DRIVERS = pytest.mark.parametrize("driver", ["asyncio", "threads"])


@frozen
class Table(Question, pure=True, remember_for=60):
    """Whether a recipient is known; the answers are remembered."""

    address: str


@frozen
class Spf(Question):
    """What a sender's domain says."""

    sender: str


@frozen
class Count:
    """An effect."""

    sender: str


class World:
    """Who is asked, and what was done; ``is_there`` or whoever is asked raises."""

    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there
        self.asked: list[Any] = []
        self.done: list[Any] = []

    async def look_up(self, question: Table, resources: Any) -> bool:
        self.tell(self.asked, question)
        return "bad" not in question.address

    def check(self, question: Spf, resources: Any) -> str:
        self.tell(self.asked, question)
        if "none" in question.sender:
            raise OSError("no server")
        return "fail" if "spoofed" in question.sender else "pass"

    def count(self, effect: Count, resources: Any) -> None:
        self.tell(self.done, effect)

    def tell(self, kept: list[Any], one: Any) -> None:
        kept.append(one)
        if not self.is_there:
            raise RuntimeError(f"nobody may be asked for {one}")

    def filters(self) -> Any:
        """Two filters: a table at each recipient, and what was asked early used at the end."""
        table = define_event_handlers(name="table", asks={Table: self.look_up})
        spf = define_event_handlers(
            name="spf", actions={"add_header"}, asks={Spf: self.check, Count: self.count}
        )

        @table.recipient(asking=lambda event, ctx: {"known": Table(event.address)})
        def judge(event: Recipient, ctx: Any) -> Any:
            return ctx if answer(ctx, "known", failed=True, late=True) else reject(ctx)

        @spf.mail
        def ask_early(event: Mail, ctx: Any) -> Any:
            return do(ask(ctx, "spf", Spf(event.sender)).set("from", event.sender), Count(event.sender))

        @spf.end_of_message(needs={"spf"})
        def use(event: EndOfMessage, ctx: Any) -> Any:
            found = answer(ctx, "spf", failed="none", late="late")
            return reject(ctx) if found == "fail" else add_header(ctx, "X-Spf", found)

        return merge_handlers(table, spf)


def serve(world: World, driver: Any, directory: Path) -> list[Trace]:
    """Many sessions with chosen senders and recipients, as they were recorded."""
    chance = random.Random(5)
    recorder = Recorder(directory)
    with closing(recorder), running(world.filters(), driver=driver, watchers=(recorder,)) as address:
        for _ in range(SESSIONS):
            with Peer(address) as peer:
                peer.begin()
                for _ in range(chance.randint(1, 3)):
                    peer.ask(Mail(f"{chance.choice(['ann', 'spoofed', 'none'])}@example.org"))
                    said = [
                        peer.ask(Recipient(f"{chance.choice(['bob', 'bad'])}{number}@example.net"))
                        for number in range(2)
                    ]
                    if Reject() in said and chance.random() < 0.5:
                        break  # the peer goes in the midst of the message
                    peer.ask(EndOfMessage())
    return [one for path in directory.iterdir() for one in load(path)]


def verdicts(traces: list[Trace], handlers: Any) -> list[bytes]:
    """All that is said to all sessions, packet by packet."""
    return [reply.data for one in traces for reply in replay(one, Filter(handlers)).replies]


@DRIVERS
def test_recorded_sessions_are_the_same_when_nobody_can_be_asked(driver: Any, tmp_path: Path) -> None:
    """Byte for byte; nobody is asked and nothing is done. Each kind of verdict is by an answer."""
    world, nobody = World(is_there=True), World(is_there=False)
    traces = serve(world, driver, tmp_path / "traces")
    assert len(traces) == SESSIONS
    assert {type(one) for one in (*world.asked, *world.done)} == {Table, Spf, Count}
    found = [compare_bytes(one, Filter(nobody.filters())) for one in traces]
    assert all(one.is_same for one in found)
    assert sum(one.asked.known for one in found) > len(world.asked) / 2  # some were remembered
    assert (nobody.asked, nobody.done) == ([], [])
    handlers = nobody.filters()
    told = verdicts(traces, handlers)
    without = verdicts([_without_answers(one) for one in traces], handlers)
    decided = [one for one in told if one and one[4:5] not in b"cO"]
    changed = [one for one, other in zip(told, without, strict=True) if one != other]
    assert len(changed) >= len(decided) / 2 > 0


@DRIVERS
def test_a_changed_answer_changes_the_sessions_that_used_it(driver: Any, tmp_path: Path) -> None:
    """In the recording, as anybody can change it: these, and no other."""
    nobody = World(is_there=False)
    traces = serve(World(is_there=True), driver, tmp_path / "traces")
    old = json.dumps({"address": "bob1@example.net"}) + '}, "outcome": "answered", "value": true'
    texts = [json.dumps(one.records) for one in traces]
    changed = [
        evolve(one, records=tuple(json.loads(text.replace(old, old.replace("true", "false")))))
        for one, text in zip(traces, texts, strict=True)
    ]
    differ = [not compare_bytes(one, Filter(nobody.filters())).is_same for one in changed]
    assert differ == [old in text for text in texts]
    assert 0 < sum(differ) < SESSIONS


def _without_answers(trace: Trace) -> Trace:
    """The same session with nobody who knew anything."""
    text = json.dumps(trace.records)
    for known in ('"answered", "value": true', '"answered", "value": false'):
        text = text.replace(f'"outcome": {known}', '"outcome": "failed", "error": "gone"')
    for known in ("pass", "fail"):
        text = text.replace(f'"answered", "value": "{known}"', '"failed", "error": "gone"')
    return evolve(trace, records=tuple(json.loads(text)))
