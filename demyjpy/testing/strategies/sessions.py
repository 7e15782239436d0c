"""Strategies for legal SMTP sessions, as scripts for `run`; they shrink to short ones."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.testing.script import Script
from demyjpy.testing.strategies.content import messages, with_words

ADDRESSES: Final = (
    "alice@example.org",
    "bob@example.net",
    "ALICE@EXAMPLE.ORG",
    "owner-list+bob=example.net@example.org",
    '"a b"@example.org',
    "postmaster",
    "grüße@example.org",
    "\udcff@example.org",
)
CLIENTS: Final = (
    client_steps.Connect(),
    client_steps.Connect("192.0.2.1", "mail.example.org"),
    client_steps.Connect("2001:db8::1"),
    client_steps.Connect("127.0.0.1", "localhost"),
    client_steps.Connect(""),
    client_steps.Connect("10.0.0.1"),
    client_steps.Connect("192.168.0.1"),
)
NAMES: Final = ("client.example", "[192.0.2.1]", "localhost", "\udcff")
_MAIL_PARAMETERS: Final[tuple[dict[str, str | None], ...]] = (
    {},
    {},
    {"SIZE": "100"},
    {"SIZE": "2000", "BODY": "8BITMIME"},
    {"SMTPUTF8": None},
    {"RET": "HDRS", "ENVID": "a+3Db"},
)
_RCPT_PARAMETERS: Final[tuple[dict[str, str | None], ...]] = (
    {},
    {},
    {"NOTIFY": "NEVER"},
    {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;bob@example.net"},
)
_COMMANDS: Final = ("XYZZY", "GET / HTTP/1.1", "FOO \udcff")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.+_-]+@[A-Za-z0-9.-]+")


def addresses(words: Sequence[str] = ()) -> SearchStrategy[str]:
    """Addresses without angle brackets; ``words`` that look like addresses or domains are used too."""
    return with_words(ADDRESSES, known_addresses(words)[len(ADDRESSES) :])


def known_addresses(words: Sequence[str]) -> tuple[str, ...]:
    """The stock addresses, the words that are one, and one at each word that is a domain."""
    own = [word for word in words if _ADDRESS.fullmatch(word)]
    return (*ADDRESSES, *own, *(f"alice@{word}" for word in words if _DOMAIN.fullmatch(word)))


def known_clients(words: Sequence[str]) -> tuple[client_steps.Connect, ...]:
    """The stock clients, and one at each word that is an IP address or a network."""
    return (*CLIENTS, *(client_steps.Connect(found) for word in words for found in _addresses_in(word)))


def _addresses_in(word: str) -> Iterator[str]:
    """The address that a word is, or the first host of the network."""
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        return
    yield word if "/" not in word else str(network[min(1, network.num_addresses - 1)])


def chunks() -> SearchStrategy[tuple[int, ...]]:
    """Sizes of the pieces in which a body comes, for ``run(chunk=...)``."""
    return st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple)


@st.composite
def sessions(draw: Any, *, most: int = 4, words: Sequence[str] = ()) -> Script:
    """Legal sessions: messages, given-up ones, RSET (or two), EHLO again, TLS, AUTH, unknown commands.

    They end with QUIT or without, also within a message; ``most`` is how many such parts there may be.
    The client does not look at the replies, as with pipelining. ``words``: see `words_of`.
    """
    script = Script(()).then(draw(st.sampled_from(known_clients(words))))
    hello = draw(st.sampled_from((*NAMES, None)))
    if hello is not None:
        script = script.ehlo(hello)
    parts = _parts(words)
    for _ in range(most):
        script = _with_part(script, draw(parts))
    if draw(_rarely(5)):
        script = script.then(*draw(_beginnings(words)))
    return script.drop() if draw(_rarely(5)) else script


def _rarely(times: int) -> SearchStrategy[bool]:
    """True once in so many and one times."""
    return st.sampled_from((False,) * times + (True,))


def _parts(words: Sequence[str]) -> SearchStrategy[tuple[ClientStep, ...]]:
    """Nothing, messages, and now and then something else.

    Nothing comes first: a part that is not needed shrinks to it, wherever it is.
    """
    nothing: SearchStrategy[tuple[ClientStep, ...]] = st.just(())
    message, other = _transactions(words), _interludes(words)
    kinds = (nothing, message, message, other, nothing, message, message)
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


def _with_part(script: Script, part: Sequence[ClientStep]) -> Script:
    """With a part behind, unless it may come only once and was there."""
    once = (client_steps.Auth, client_steps.StartTls)
    there = {type(step) for step in script.steps}
    if any(isinstance(step, once) and type(step) in there for step in part):
        return script
    return script.then(*part)


def _beginnings(words: Sequence[str]) -> SearchStrategy[tuple[ClientStep, ...]]:
    """MAIL and some RCPT."""
    sender = st.builds(lambda one, is_null: "" if is_null else one, addresses(words), _rarely(5))
    mail = st.builds(client_steps.Mail, sender, st.sampled_from(_MAIL_PARAMETERS))
    return st.builds(lambda one, more: (one, *more), mail, st.lists(_recipients(words), max_size=2))


def _recipients(words: Sequence[str]) -> SearchStrategy[ClientStep]:
    refused = _rarely(15).map(lambda is_rare: "5.1.1 User unknown" if is_rare else None)
    parameters = st.sampled_from(_RCPT_PARAMETERS)
    return st.builds(client_steps.Rcpt, addresses(words), parameters, st.none(), refused)


def _transactions(words: Sequence[str]) -> SearchStrategy[tuple[ClientStep, ...]]:
    """A message."""
    return st.builds(
        lambda begun, unknown, recipient, content: (
            *begun,
            *unknown,
            recipient,
            client_steps.Data(content),
        ),
        _beginnings(words),
        _rarely(7).flatmap(lambda is_rare: st.tuples(_unknown()) if is_rare else st.just(())),
        _recipients(words),
        messages(words),
    )


def _unknown() -> SearchStrategy[ClientStep]:
    return st.sampled_from(_COMMANDS).map(client_steps.Command)


def _interludes(words: Sequence[str]) -> SearchStrategy[tuple[ClientStep, ...]]:
    """What is no message: one given up, RSET, EHLO, AUTH, STARTTLS, an unknown command."""
    ehlo = st.sampled_from(NAMES).map(client_steps.Ehlo)
    reset: SearchStrategy[tuple[ClientStep, ...]] = st.sampled_from(
        ((client_steps.Rset(),), (client_steps.Rset(), client_steps.Rset()))
    )
    again = ehlo.map(lambda step: (step,))
    given_up = st.builds(lambda begun, end: (*begun, *end), _beginnings(words), reset | again)
    tls = ehlo.map(
        lambda step: (
            client_steps.Ehlo(),
            client_steps.StartTls({"tls_version": "TLSv1.3", "cipher": "AES"}),
            step,
        )
    )
    auth = st.just(
        (client_steps.Ehlo(), client_steps.Auth({"auth_type": "PLAIN", "auth_authen": "alice"}))
    )
    unknown = _unknown().map(lambda step: (step,))
    return st.one_of(reset, given_up, again, unknown, auth, tls)
