"""What a property finds, and how what came of two sessions differs."""

from collections.abc import Sequence

from attrs import evolve, frozen

from demyjpy.testing.dialogue import show
from demyjpy.testing.differences import diff, mail_lines
from demyjpy.testing.result import Played, Result


@frozen
class Finding:
    """What is wrong: in words, in which session, and what differs."""

    words: str
    result: Result
    details: str = ""


def outcome_difference(
    one: Sequence[Played], other: Sequence[Played], name: str, other_name: str
) -> str:
    """How the outcomes of steps differ; the edits themselves may, if their outcome is the same."""
    before, after = ([(played.reply, played.outcome.mail) for played in some] for some in (one, other))
    if before == after:
        return ""
    lines = diff(_essence_lines(one), _essence_lines(other), name, other_name)
    return lines or "only in what is left out here of long lines"


def _essence_lines(all_played: Sequence[Played]) -> list[str]:
    lines: list[str] = []
    for played in all_played:
        lines.append(show(str(played.reply)))
        if played.outcome.mail is not None:
            message = played.outcome.mail.message
            own = evolve(message, fields=message.seen_fields)
            lines += mail_lines(evolve(played.outcome.mail, message=own))
    return lines
