"""How each symptom of docs/troubleshooting.md is provoked: by heading, with the doors where it shows.

What the servers, the client and the filter then say is compared with the page by
`tests.integration.test_troubleshooting`. No text of a log is here.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen

from demyjpy import Limits, add_header, define_event_handlers, quarantine, reject, running
from demyjpy.cli.program import main
from tests.integration.scenario import GREETING, ONE_MAIL, Mta, envelope, message
from tests.integration.smtp import Step, connected

ROOT: Final = Path(__file__).parents[2]

Say: TypeAlias = Callable[[Step], None]


@frozen
class Bench:
    """What a provocation works with: the address of its milter, the ports of its doors.

    ``submit`` hands in a mail at Postfix as a local user does. ``replies`` are those to all clients,
    ``complaints`` what a program of the filter prints.
    """

    address: str
    ports: Mapping[Mta, int]
    submit: Callable[[], None]
    replies: list[str] = field(factory=list)
    complaints: list[str] = field(factory=list)

    @contextmanager
    def client(self, mta: Mta) -> Iterator[Say]:
        """A client at a door."""
        with connected(self.ports[mta]) as client:
            self.replies.append(client.greeting)
            yield lambda step: self.replies.extend(client.say(step))

    def talk(self, *steps: Step) -> None:
        """The same conversation at each door, at the same time; one mail if none is given."""

        def at(mta: Mta) -> None:
            with self.client(mta) as say:
                for step in steps or ONE_MAIL:
                    say(step)

        with ThreadPoolExecutor() as pool:
            list(pool.map(at, self.ports))


Provoke: TypeAlias = Callable[[Bench], None]


@frozen
class Symptom:
    """What makes it show, and how the doors are configured; None: that server has no door for it.

    ``sendmail``: the equates of the filter. ``on_unix``: the milter's address is a socket in a directory
    of its own.
    """

    provoke: Provoke
    postfix: Mapping[str, str] | None = field(factory=dict)
    sendmail: str | None = "F=T, T=C:5s;S:5s;R:5s;E:10s"
    is_chrooted: bool = False
    on_unix: bool = False


def filtered(handlers: Any, **options: Any) -> Provoke:
    """A filter serves while a client sends a mail."""

    def provoke(bench: Bench) -> None:
        with running(handlers, address=bench.address, **options):
            bench.talk()

    return provoke


def on(event: str, handler: Callable[[Any, Any], Any], *actions: str) -> Any:
    """A filter with one handler."""
    return define_event_handlers({event: handler}, name="rules", actions=actions)


# ----------------------------------------------------------------------------------------- handlers
def goes_on(event: Any, ctx: Any) -> Any:
    """No opinion."""
    return ctx


def looks_up(event: Any, ctx: Any) -> Any:
    """A bug."""
    return ctx.set("owner", {}[event.address])


def refuses(event: Any, ctx: Any) -> Any:
    """In a filter's own words."""
    return reject(ctx, "5.7.1", "not accepted here", code=550)


def edits(event: Any, ctx: Any) -> Any:
    """Whether it may, its declaration says."""
    return add_header(ctx, "X-Seen", "yes")


def holds(event: Any, ctx: Any) -> Any:
    """Until a human has looked at it."""
    return quarantine(ctx, "a program inside")


# ----------------------------------------------------------------------- what needs more than these
class _WebServer(StreamRequestHandler):
    """It answers whatever is said."""

    def handle(self) -> None:
        self.rfile.read(4)
        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def _a_web_server_listens(bench: Bench) -> None:
    port, _, host = bench.address.removeprefix("inet:").partition("@")
    with ThreadingTCPServer((host, int(port)), _WebServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        bench.talk()
        server.shutdown()
        thread.join()


def _only_its_user_may_connect(bench: Bench) -> None:
    filtered(on("recipient", goes_on))(evolve(bench, address=bench.address.partition("?")[0]))


def _all_may_write_beside_the_socket(bench: Bench) -> None:
    """With such a directory Sendmail would not start: it becomes so later."""
    Path(bench.address.removeprefix("unix:")).parent.chmod(0o1777)
    filtered(on("recipient", goes_on))(bench)


def _the_address_is_taken(bench: Bench) -> None:
    """`demyjpy run` says so, in the journal of its service."""
    command = ["run", str(ROOT / "samples/bytecount.py"), "--allow-root", "--listen", bench.address]
    with (
        running(on("recipient", goes_on), address=bench.address),
        redirect_stderr(StringIO()) as errors,
    ):
        main(command)
    bench.complaints.append(errors.getvalue())


def _a_handler_waits(bench: Bench) -> None:
    """Until the servers have given up."""
    given_up = threading.Event()

    def waits(event: Any, ctx: Any) -> Any:
        given_up.wait(20)
        return ctx

    with running(on("recipient", waits), address=bench.address, driver="threads"):
        bench.talk()
        given_up.set()


def _a_handler_blocks(bench: Bench) -> None:
    """The event loop, until that is in the log."""
    told = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    def blocks(event: Any, ctx: Any) -> Any:
        told.wait(20)
        return ctx

    log, handler = logging.getLogger("demyjpy"), Told(logging.WARNING)
    log.addHandler(handler)
    try:
        with running(on("recipient", blocks), address=bench.address, warn_blocked=0.05):
            bench.talk()
    finally:
        log.removeHandler(handler)


def _the_filter_stops(bench: Bench) -> None:
    """In the middle of a message of each client."""
    with ExitStack() as clients:
        with running(on("recipient", goes_on), address=bench.address, grace=0):
            says = [clients.enter_context(bench.client(mta)) for mta in bench.ports]
            for say in says:
                for step in (GREETING, *envelope()):
                    say(step)
        for say in says:
            say(message())


def _one_more_connects(bench: Bench) -> None:
    options: Any = {"max_connections": 1, "when_full": "tempfail"}
    for mta in bench.ports:
        with (
            running(on("recipient", goes_on), address=bench.address, grace=0, **options),
            bench.client(mta) as first,
            bench.client(mta) as second,
        ):
            first(GREETING)
            for step in (GREETING, *envelope()):
                second(step)


def _a_user_sends(bench: Bench) -> None:
    with running(on("end_of_message", edits, "add_header"), address=bench.address):
        bench.submit()


SYMPTOMS: Final[Mapping[str, Symptom]] = {
    "connection-refused": Symptom(Bench.talk),
    "no-such-file-or-directory": Symptom(
        filtered(on("recipient", goes_on)), sendmail=None, is_chrooted=True, on_unix=True
    ),
    "permission-denied": Symptom(_only_its_user_may_connect, sendmail=None, on_unix=True),
    "local-socket-name-unsafe": Symptom(_all_may_write_beside_the_socket, postfix=None, on_unix=True),
    "the-filter-does-not-start": Symptom(_the_address_is_taken, postfix=None, sendmail=None),
    "something-else-listens-there": Symptom(_a_web_server_listens),
    "the-filter-closes-the-connection-at-once": Symptom(
        filtered(on("recipient", goes_on), allow=["192.0.2.0/24"])
    ),
    "the-mta-does-not-offer-what-the-filter-needs": Symptom(
        filtered(on("data", goes_on)), postfix={"milter_protocol": "2"}, sendmail=None
    ),
    "too-many-connections": Symptom(_one_more_connects),
    "a-handler-fails": Symptom(filtered(on("recipient", looks_up))),
    "an-edit-is-not-declared": Symptom(filtered(on("end_of_message", edits))),
    "the-filter-answers-too-late": Symptom(
        _a_handler_waits,
        postfix={"milter_command_timeout": "1s"},
        sendmail="F=T, T=C:5s;S:5s;R:1s;E:10s",
    ),
    "all-sessions-wait-at-once": Symptom(_a_handler_blocks),
    "the-filter-stops-in-the-middle-of-a-message": Symptom(_the_filter_stops),
    "a-recipient-is-refused": Symptom(filtered(on("recipient", refuses))),
    "a-message-is-refused": Symptom(filtered(on("end_of_message", refuses))),
    "message-too-big-for-this-filter": Symptom(
        filtered(on("header", goes_on), limits=Limits(headers=5))
    ),
    "mail-passes-while-the-filter-is-away": Symptom(
        Bench.talk, postfix={"milter_default_action": "accept"}, sendmail=""
    ),
    "mail-from-this-machine-is-not-filtered": Symptom(_a_user_sends, sendmail=None),
    "mail-waits-in-quarantine": Symptom(filtered(on("end_of_message", holds, "quarantine"))),
}
"""By the anchor of the heading in docs/troubleshooting.md."""
