"""Faults planted in merging and in the plan of several filters: ``python -m tests.law.planted``.

Each is a change of one line in a copy of the tree. The law test has to turn red with each of them. Takes
some minutes; exit status 1 if a fault was not found, or if its line is not there any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_TIME: Final = 600.0  # seconds for one run of the law test


class Fault(NamedTuple):
    """One line, and what it becomes."""

    what: str
    file: str
    right: str
    wrong: str


FAULTS: Final = (
    Fault(
        "filters behind a refusal are asked, too",
        "engine/handling.py",
        "() if is_refused else job.chain[1:]",
        "job.chain[1:]",
    ),
    Fault(
        "of two refusals of content that of the later filter counts",
        "engine/chain_state.py",
        "self.kept[0] < number",
        "self.kept[0] > number",
    ),
    Fault(
        "a refusal of content does not wait for the filters before",
        "engine/chain_flow.py",
        "letter == BODYEOB or not _has_more_before(turn, members, kept[0], letter)",
        "True",
    ),
    Fault(
        "nobody waits for who may edit the header",
        "engine/members.py",
        "bool(one.actions & HEADER_EDITS)",
        "False",
    ),
    Fault(
        "nobody waits for who may edit the body",
        "engine/members.py",
        "bool(one.actions & BODY_EDITS)",
        "False",
    ),
    Fault(
        "what comes after an event that waits does not wait",
        "engine/members.py",
        "(edited or waiting)",
        "edited",
    ),
    Fault(
        "a filter that has accepted gets the end of the message",
        "engine/chain_end.py",
        "while refusal is None and step < len(STEPS) and number not in decisions.done:",
        "while refusal is None and step < len(STEPS):",
    ),
    Fault(
        "filters get the abort of a message of which they saw nothing",
        "engine/chain_state.py",
        "if one[0] in state.began and one[0] not in knowing",
        "if one[0] not in knowing",
    ),
    Fault(
        "a filter that has refused at the end gets an abort",
        "engine/chain_end.py",
        "if job.dispatch.letter == BODYEOB or refusal is not None:",
        "if job.dispatch.letter == BODYEOB and refusal is None:",
    ),
    Fault(
        "what an observer owes is said at the next answer of any filter",
        "engine/chain_flow.py",
        "if letter == BODYEOB or letter in members.filters[number].answered:",
        "if True:",
    ),
    Fault(
        "a recipient whom a filter refused stands",
        "engine/conclusions.py",
        "elif letter == RCPT and not refuses(verdict) and not is_rejected(turn):",
        "elif letter == RCPT and not is_rejected(turn):",
    ),
    Fault(
        "deletions go from the first to the last of a name",
        "engine/chain_edits.py",
        "for edit in reversed(said)\n",
        "for edit in said\n",
    ),
    Fault(
        "new fields above the message are in reverse",
        "engine/chain_edits.py",
        "[one for one in reversed(new) if one.place == place]",
        "[one for one in new if one.place == place]",
    ),
    Fault(
        "new fields at the end go by AddHeader, which Sendmail reverses",
        "engine/chain_edits.py",
        "if name in alone or name in due:",
        "if True:",
    ),
    Fault(
        "a deletion covers one spelling of an address",
        "message/draft.py",
        "found = spellings.pop(folded(address), set())",
        "found = spellings.pop(folded(address), set()) & {address}",
    ),
    Fault(
        "a change beyond the last field of a name is lost",
        "message/draft.py",
        'elif raw:\n                    new["end"].append(Field(edit.name, raw))',
        "elif raw:\n                    pass",
    ),
    Fault(
        "the next filter gets a new body without its last line end",
        "engine/chain_end.py",
        "Stock.of(shown_body(made.body))",
        "Stock.of(made.body)",
    ),
    Fault(
        "a filter may use the actions of the others",
        "engine/members.py",
        "(part.actions | part.optional_actions) & granted",
        "granted",
    ),
)


def find(fault: Fault) -> str | None:
    """What is wrong with the law test as to a fault; None if it finds it."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-planted-") as directory:
        tree = Path(directory)
        for name in ("demyjpy", "tests", "samples"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        file = tree / "demyjpy" / fault.file
        text = file.read_text()
        if text.count(fault.right) != 1:
            return f"expected its line once in {fault.file}, got it {text.count(fault.right)} times"
        file.write_text(text.replace(fault.right, fault.wrong))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/law"]
        environment = {**os.environ, "PYTHONPATH": directory}
        ran = subprocess.run(
            command, cwd=tree, env=environment, timeout=_TIME, check=False, capture_output=True
        )
    if ran.returncode == 1 and b"1 failed" in ran.stdout:
        return None
    return f"expected the law test to fail, got exit status {ran.returncode}"


def main() -> int:
    """Plant all, or those whose description holds a word that is given."""
    words = sys.argv[1:]
    chosen = [one for one in FAULTS if not words or any(word in one.what for word in words)]
    missed = 0
    for fault in chosen:
        trouble = find(fault)
        missed += trouble is not None
        verdict = "found " if trouble is None else "MISSED"
        print(verdict, fault.what, *([] if trouble is None else [f"({trouble})"]), flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults turn the law test red")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
