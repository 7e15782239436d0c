"""What the mail server in a box reports, printed as it goes and counted; how mail gets there."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from demyjpy.cli.output import Paint, say
from demyjpy.cli.step_lines import step_lines
from demyjpy.drivers.address import Address
from demyjpy.errors import AddressError
from demyjpy.mta import client_steps
from demyjpy.mta.smtp_session import Outcome
from demyjpy.shown import safe
from demyjpy.trace.display.wording import plural

if TYPE_CHECKING:
    from demyjpy.mta.box_settings import Store


@define
class Journal:
    """Prints what the box reports, and counts it. ``on_error`` is called if nobody reads it any more."""

    names: Sequence[str]
    paint: Paint
    on_error: Callable[[OSError], None]
    sessions: set[int] = field(factory=set)
    tried: dict[int, bool] = field(factory=dict)  # sessions with recipients: whether one was taken
    stored: int = 0
    refused: int = 0
    discarded: int = 0

    def __call__(self, number: int, what: Outcome | str) -> None:
        """Take a report: see `demyjpy.mta.box_settings.Report`."""
        self.sessions.add(number)
        if isinstance(what, Outcome):
            self._count(number, what)
            lines = list(step_lines(what, self.names, self.paint))
        else:
            lines = [f"    {safe(what)}"]
        mark = self.paint("dim", f"#{number} ")
        try:
            say(*(f"{mark}{line}" for line in lines), flush=True, coloured=self.paint.is_on)
        except OSError as error:
            self.on_error(error)

    def _count(self, number: int, outcome: Outcome) -> None:
        """A mail is refused as a whole, or at all its recipients."""
        is_refused = outcome.reply is not None and outcome.reply.is_refusal
        match outcome.step:
            case client_steps.Command():
                return
            case client_steps.Rcpt():
                self.tried[number] = self.tried.get(number, False) or not is_refused
                return
            case client_steps.Data() if not is_refused:
                self.stored += outcome.mail is not None
                self.discarded += outcome.mail is None
        is_given_up = not self.tried.pop(number, True)
        is_whole = is_refused and isinstance(outcome.step, (client_steps.Mail, client_steps.Data))
        self.refused += is_given_up or is_whole

    def summary(self) -> str:
        """What has been counted."""
        return (
            f"{plural(len(self.sessions), 'session')}: {plural(self.stored, 'mail')} stored, "
            f"{self.refused} refused, {self.discarded} discarded"
        )


def open_store(directory: str) -> "Store":
    """The Maildir, made if there is none."""
    from demyjpy.mta.box_settings import Store  # noqa: PLC0415  # --help does not need it

    try:
        return Store(directory)
    except OSError as error:
        raise AddressError(f"cannot store mail in {directory}: {error.strerror or error}") from error


def smtp_server(address: Address) -> str:
    """An address as swaks and people write it."""
    if address.kind == "unix":
        return address.path
    return (
        f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    )


def swaks_line(address: Address) -> str:
    """The command that sends a mail there."""
    option = "--socket" if address.kind == "unix" else "--server"
    return f"swaks {option} {smtp_server(address)} --from ann@example.org --to bob@example.net"
