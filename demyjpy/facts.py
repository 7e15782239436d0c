"""What a handler may read about the present mail: where it comes from, for whom it is, the time.

All of it is read from the context that a handler gets. Nothing here looks at a clock or a socket.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Literal, TypeAlias, TypeVar

from attrs import field, frozen

from demyjpy.clients import Client, client_of
from demyjpy.context import Context
from demyjpy.engine.macros import Macros
from demyjpy.errors import HandlerError
from demyjpy.events import Recipient
from demyjpy.known_facts import NO_FACTS, KnownFacts

T = TypeVar("T")

Origin: TypeAlias = Literal["smtp", "submission", "local", "bounce"]
"""Where a mail comes from, in one word: see `Facts.origin`."""

_SUBMISSION_PORTS: Final = frozenset({"587", "465"})
"""RFC 6409 and RFC 8314."""

_SUBMISSION_NAMES: Final = frozenset({"MSA", "ORIGINATING"})
"""Names of daemons: Sendmail's default (proto.m4), and what Postfix's master.cf and amavis suggest."""


def now(ctx: Context) -> datetime:
    """When the packet at hand came from the MTA: the time, as an aware `datetime` in UTC.

    It is the same however often it is asked while one packet is in hand, for all filters. A filter with
    it needs no clock: a replay gives it the recorded time, to the microsecond, and a test what
    ``run(..., clock=...)`` says. A clock that is set back goes back here, too.

    `HandlerError` for a context that no driver, test or replay has made.
    """
    when: datetime = ctx["macros"].moment.when()
    return when


def recall(ctx: Context, key: str, default: Any = None) -> Any:
    """What was kept under this key with `remember`, on this connection; ``default`` if nothing was."""
    return ctx["connection"].get(key, default)


@frozen
class Tls:
    """How a session is encrypted.

    ``version``: as in ``TLSv1.3``; ``cipher`` its name; ``bits`` its strength, None if the MTA does
    not say. ``subject`` and ``issuer`` are those of the client's certificate: a distinguished name
    with Sendmail, a common name with Postfix, None if there is none. ``is_verified``: the MTA
    trusts the issuer of the certificate; only then is ``subject`` more than what the client says of
    itself.
    """

    version: str
    cipher: str | None = None
    bits: int | None = None
    subject: str | None = None
    issuer: str | None = None
    is_verified: bool = False


@frozen
class Facts:
    """What is known of the mail at hand. A fact that is not known yet is None: the sender at connect.

    Its attributes are read from the context when they are asked for. One that the filter has not
    declared in ``facts=`` raises `HandlerError`; ``queue_id`` and ``session`` need no declaration.
    """

    _known: KnownFacts = field(repr=False)
    _macros: Macros = field(repr=False)

    @property
    def client(self) -> Client | None:
        """The client of this session: its address, its name, and whether that is verified."""
        return self._read("client", _client)

    @property
    def origin_client(self) -> Client | None:
        """The client that handed the mail to the first of our trusted relays (``trusted_relays=``).

        It is ``client`` itself, from connect on, unless that is a trusted relay. If it is one, the
        ``Received`` fields name it, from the top down: each trusted relay has written one, which
        names the next client, and the first client that is not trusted is this one. Fields below it
        are ignored, because anybody can forge them. If there is no such field, the mail began on
        the last relay.

        None until that field, or the end of the header, has come; and if a relay has written a field
        that is not of a form that Postfix or Sendmail writes.
        """
        return self._read("origin_client", _origin_client)

    @property
    def helo(self) -> str | None:
        """The argument of the last HELO or EHLO."""
        return self._read("helo", _greeting)

    @property
    def sender(self) -> str | None:
        """The address of MAIL without angle brackets; ``""`` for the null sender."""
        return self._read("sender", _sender)

    @property
    def user(self) -> str | None:
        """Who has logged in, from MAIL on (``{auth_authen}``); None for a client that has not."""
        return self._read("user", _user)

    @property
    def tls(self) -> Tls | None:
        """How the session is encrypted, from the greeting on (RFC 3207); None if it is not."""
        return self._read("tls", _tls)

    @property
    def origin(self) -> Origin:
        """Where the mail comes from; the first of these rules that holds.

        - ``"submission"``: the client has logged in (``{auth_authen}``), or it uses a port or daemon for
          submission: ``{daemon_port}`` is 587 or 465, ``{daemon_name}`` is MSA or ORIGINATING.
        - ``"bounce"``: the sender is the null sender.
        - ``"local"``: the client has no IP address, or its address is a loopback address.
        - ``"smtp"``: all else.

        Login and sender are known from MAIL on: at connect and hello it is what is known by then.
        """
        return self._read("origin", _origin)

    @property
    def queue_id(self) -> str | None:
        """The name of the message in the MTA's log; Postfix has none before the second recipient."""
        return self._macros.get("i")

    @property
    def session(self) -> str:
        """The name of the session in the log of this milter."""
        return self._macros.moment.session

    def _read(self, name: str, read: Callable[[KnownFacts, Macros], T]) -> T:
        known = check_declared(self._known, name, f"facts(ctx).{name}")
        if known.given is not None and name in known.given:
            given: T = known.given[name]
            return given
        return read(known, self._macros)


def facts(ctx: Context) -> Facts:
    """What is known of the mail at hand: client, sender, user and the like. See `Facts`.

    A filter declares what it reads, as in ``define_event_handlers(facts={"client", "sender"})``: the MTA
    is asked for the events and macros that are needed, and does not wait for an answer to these events.
    """
    return Facts(_known_in(ctx), ctx["macros"])


def recipients(ctx: Context) -> Sequence[Recipient]:
    """The recipients of the message at hand that stand, in their order; the sequence cannot be changed.

    They are those that the filter got at RCPT, without those that it, another of the merged filters, or
    the MTA has refused. A recipient is among them when its event is over: for its own handler it is
    ``event``. They are the same as in `Message.recipients`: edits are not among them.

    `HandlerError` if the filter has not declared ``facts={"recipients"}``.
    """
    known = check_declared(_known_in(ctx), "recipients", "recipients(ctx)")
    if known.given is not None and "recipients" in known.given:
        given: Sequence[Recipient] = known.given["recipients"]
        return given
    return known.recipients


def _known_in(ctx: Context) -> KnownFacts:
    known = ctx.get("facts", NO_FACTS)
    return known if isinstance(known, KnownFacts) else NO_FACTS


def check_declared(known: KnownFacts, name: str, asked: str) -> KnownFacts:
    """What is known; `HandlerError` with the line to write if the filter has not declared this fact."""
    if name not in known.names:
        line = ", ".join(f'"{one}"' for one in sorted(known.names | {name}))
        raise HandlerError(
            f"expected {asked} of a fact that the filter has declared, got {name!r}, which it has not: "
            f"write define_event_handlers(..., facts={{{line}}})"
        )
    return known


# ------------------------------------------------------------------------- from what they are read
def origin_in(ctx: Context) -> Origin:
    """The fact ``origin``, for the engine: whether it is declared is not asked."""
    return _origin(_known_in(ctx), ctx["macros"])


def _client(known: KnownFacts, macros: Macros) -> Client | None:
    return None if known.connect is None else client_of(known.connect, macros.get)


def _origin_client(known: KnownFacts, macros: Macros) -> Client | None:
    if known.way.state != "ended":
        return None
    return _client(known, macros) if known.way.last is None else known.way.last


def _greeting(known: KnownFacts, macros: Macros) -> str | None:
    return known.greeting


def _sender(known: KnownFacts, macros: Macros) -> str | None:
    return known.sender


def _user(known: KnownFacts, macros: Macros) -> str | None:
    return macros.get("auth_authen") or None


def _tls(known: KnownFacts, macros: Macros) -> Tls | None:
    version = macros.get("tls_version")
    if not version:
        return None
    bits, subject = macros.get("cipher_bits") or "", macros.get("cert_subject") or None
    return Tls(
        version,
        macros.get("cipher") or None,
        int(bits) if bits.isascii() and bits.isdigit() and len(bits) < _MOST_DIGITS else None,
        subject,
        macros.get("cert_issuer") or None,
        subject is not None and _is_verified(macros),
    )


_MOST_DIGITS: Final = 6


def _is_verified(macros: Macros) -> bool:
    """Whether the MTA trusts the certificate.

    Sendmail says so in ``{verify}`` (cf/README, STARTTLS). Postfix has no such macro, and gives a
    subject only if the certificate is trusted (``IF_TRUSTED`` in smtpd_milter.c). It names itself in
    ``v``.
    """
    said = macros.get("verify")
    return (macros.get("v") or "").startswith("Postfix") if said is None else said == "OK"


def _origin(known: KnownFacts, macros: Macros) -> Origin:
    if (
        macros.get("auth_authen")
        or macros.get("daemon_port") in _SUBMISSION_PORTS
        or macros.get("daemon_name") in _SUBMISSION_NAMES
    ):
        return "submission"
    if known.sender == "":
        return "bounce"
    if known.connect is None:
        return "smtp"
    address = known.connect.address
    is_remote = isinstance(address, IPv4Address | IPv6Address) and not address.is_loopback
    return "smtp" if is_remote else "local"
