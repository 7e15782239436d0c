"""Plays 25 conversations at milters of others, in the box and behind a real Postfix, and compares.

    python -m tests.foreign [MILTER ...]

For root on Debian 12; the first time it installs them, below the directory of the MTAs. What must hold:
replies, envelope, every byte and what is held are equal; the snooper marks nothing as odd; a replay of
what it recorded does not differ; and `explain` says of each message what the real Postfix did to it.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import define, field

from tests.foreign import TABLE, place, play
from tests.foreign.milters import MILTERS
from tests.foreign.scenarios import CONVERSATIONS, Conversation
from tests.integration.ports import free_port
from tests.integration.postfix import Postfix
from tests.integration.smtp import running_sink

CHAINS = (
    ("opendkim", "opendmarc", "clamav-milter", "mailfromd"),
    ("pyspf-milter", "spamass-milter", "mimedefang", "dkimpy-milter"),
    ("python-libmilter", "kilter", "rspamd", "opendkim"),
)
"""Four in a row, one after the other."""


@define
class Row:
    """What came of one milter, or chain."""

    name: str
    equal: int = 0
    delivered: int = 0
    """Messages that Postfix passed on or held, so that nobody takes a broken milter for an equal one."""
    differing: list[str] = field(factory=list)
    odd: list[str] = field(factory=list)
    replay: str = ""
    untrue: list[str] = field(factory=list)

    @property
    def is_right(self) -> bool:
        """Whether all holds."""
        return not (self.differing or self.odd or self.replay or self.untrue)


def try_milters(names: Sequence[str], conversations: Sequence[Conversation]) -> Row:
    """Play all conversations at these milters in a row; each is watched behind Postfix."""
    row = Row(" + ".join(names))
    with ExitStack() as kept:
        traces = {name: Path(kept.enter_context(tempfile.TemporaryDirectory())) for name in names}
        real, boxed = _play(names, conversations, traces)
        row.delivered = sum(len(one.delivered) + len(one.held) for one in real.values())
        for one in conversations:
            if real[one.name] == boxed[one.name]:
                row.equal += 1
            else:
                row.differing.append(f"{one.name}\n{_difference(real[one.name], boxed[one.name])}")
        for name in names:
            found = play.recorded(traces[name])
            row.odd += [f"{name}: {what}" for what in play.marked_as_odd(found)]
            row.replay += play.replayed(traces[name])
        if len(names) == 1:
            row.untrue = _untrue(play.recorded(traces[names[0]]), list(real.values()))
    return row


def _play(
    names: Sequence[str], conversations: Sequence[Conversation], traces: dict[str, Path]
) -> tuple[dict[str, play.Came], dict[str, play.Came]]:
    """What came of it behind Postfix, and in the box; traces are whole when snoopers have ended."""
    with ExitStack() as stack:
        ports = {name: free_port() for name in names}
        for name in names:
            stack.enter_context(MILTERS[name](ports[name]))
        watched = []
        for name in names:
            watched.append(f"inet:{free_port()}@127.0.0.1")
            milter = f"inet:{ports[name]}@127.0.0.1"
            stack.enter_context(play.snooper(watched[-1], milter, traces[name]))
        with running_sink() as sink, Postfix(watched, sink.port) as server:
            postfix = play.PostfixMta(server, sink)
            real = {one.name: postfix.play(one).plain() for one in conversations}
        with play.box([f"inet:{ports[name]}@127.0.0.1" for name in names]) as box:
            boxed = {one.name: box.play(one).plain() for one in conversations}
    return real, boxed


def _difference(real: play.Came, boxed: play.Came) -> str:
    lines = []
    for what in ("replies", "delivered", "held"):
        one, other = getattr(real, what), getattr(boxed, what)
        if one != other:
            lines += [f"    Postfix {what}: {one!r:.1500}", f"    box     {what}: {other!r:.1500}"]
    return "\n".join(lines)


def _untrue(traces: Sequence[play.Trace], came: Sequence[play.Came]) -> list[str]:
    """Whether as many messages went on, or were held, as `explain` says."""
    said = play.fates(traces)
    done = {
        "accepted": sum(len(one.delivered) for one in came),
        "quarantined": sum(len(one.held) for one in came),
    }
    return [
        f"{fate}: explain says {said.count(fate)}, Postfix did {count}"
        for fate, count in done.items()
        if said.count(fate) != count
    ]


def main(arguments: Sequence[str]) -> int:
    """0 if all holds."""
    parser = argparse.ArgumentParser("python -m tests.foreign", description=__doc__)
    parser.add_argument("milters", nargs="*", metavar="MILTER", help=f"of {', '.join(MILTERS)}")
    parser.add_argument("--only", help="conversations with this in their names")
    parser.add_argument("--no-chains", action="store_true")
    parser.add_argument("--write", action="store_true", help=f"write the table to {TABLE.name}")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.milters) - set(MILTERS))
    if unknown:
        parser.error(f"expected milters among {', '.join(MILTERS)}, got {', '.join(unknown)}")
    place.install()
    conversations = [one for one in CONVERSATIONS if (given.only or "") in one.name]
    chosen = [(name,) for name in given.milters or MILTERS]
    chains = [] if given.milters or given.no_chains else list(CHAINS)
    rows = []
    table = ["| milter | equal | delivered | marked as odd | replay | explain |", "| --- " * 6 + "|"]
    print("\n".join(table), flush=True)
    for names in (*chosen, *chains):
        row = try_milters(names, conversations)
        rows.append(row)
        words = (
            f"{row.equal} of {len(conversations)}",
            str(row.delivered),
            str(len(row.odd)),
            "differs" if row.replay else "equal",
            "untrue" if row.untrue else "true",
        )
        table.append(f"| {row.name} | {' | '.join(words)} |")
        print(table[-1], flush=True)
    if given.write:
        TABLE.write_text("\n".join(table) + "\n")
    for row in rows:
        if not row.is_right:
            print(f"\n{row.name}:", *row.differing, *row.odd[:10], row.replay, *row.untrue, sep="\n  ")
    return 0 if all(row.is_right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
