"""What a shadow keeps in memory of its candidate: nothing of what went wrong."""

from pathlib import Path
from typing import Any
from weakref import ref

from demyjpy import define_event_handlers
from demyjpy.trace import shadow
from tests.engine.harness import EOM, HEADER, MAIL, OPENING, QUIT, RCPT, Session, keep, packet
from tests.integration.ports import wait_until

PIECE = 65_535


def test_what_a_candidate_had_when_it_failed_is_not_kept() -> None:
    """Such as the body of a message: a session may have hundreds of them."""

    class Held:
        """Something large."""

    refs: list[Any] = []
    told: list[Any] = []

    def fail(event: Any, ctx: Any) -> Any:
        held = Held()
        refs.append(ref(held))
        raise ValueError("candidate")

    live = define_event_handlers({"end_of_message": keep})
    both = shadow(live, define_event_handlers({"end_of_message": fail}), report=told.append)
    playing = Session.open(both)
    playing.say(*OPENING)
    for _ in range(3):
        playing.say(MAIL, RCPT, EOM)
    wait_until(lambda: len(refs) == 3 and not any(one() for one in refs), "what the handler had goes")
    playing.say(QUIT)


def test_a_large_body_of_a_candidate_is_in_a_file() -> None:
    """It gets the message as it would get it if it was served."""
    sizes: list[int] = []
    files: list[bool] = []

    def look(event: Any, ctx: Any) -> Any:
        files.append(any(map(_is_spool, Path("/proc/self/fd").iterdir())))
        sizes.append(len(event.body))
        return ctx

    live = define_event_handlers({"end_of_message": keep})
    both = shadow(live, define_event_handlers({"message": look}), report=lambda difference: None)
    playing = Session.open(both)
    chunk = bytes(PIECE)
    playing.say(*OPENING, MAIL, RCPT, HEADER, *[packet("B", chunk)] * 40, EOM)
    wait_until(lambda: sizes == [40 * PIECE], "the candidate gets the message")
    assert files == [True]
    playing.say(QUIT)


def _is_spool(path: Path) -> bool:
    """Whether a descriptor is that of a file without a name, with most of the body in it."""
    try:
        found = path.stat()
    except OSError:  # it was closed meanwhile
        return False
    return found.st_nlink == 0 and found.st_size > 30 * PIECE
