"""Asks at MAIL whether this client may send for the sender's domain, and uses the answer at the end.

This is like SPF, and is not SPF: `NetworkTable` knows the networks of a few domains, where SPF would ask
DNS. If you have a function that does so, put it into ``asks=``; the handlers stay.
"""

import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from attrs import frozen

from demyjpy import (
    Context,
    EndOfMessage,
    Mail,
    Question,
    add_header,
    answer,
    ask,
    define_event_handlers,
    facts,
    reject,
    start_milter,
)


@frozen
class MaySend(Question, pure=True, remember_for=300):
    """``pass``, ``fail``, or ``none`` if nothing is known of the domain."""

    client: str
    domain: str
    examples = ("pass", "fail", "none")


class NetworkTable:
    """Networks by domain: a stand-in for what DNS says."""

    def __init__(self, networks: Mapping[str, Iterable[str]]) -> None:
        self._networks = {domain: [*map(ip_network, some)] for domain, some in networks.items()}

    def __call__(self, question: MaySend, resources: Mapping[str, Any]) -> str:
        """Answer a question."""
        networks = self._networks.get(question.domain)
        if networks is None:
            return "none"
        client = ip_address(question.client)
        return "pass" if any(client in network for network in networks) else "fail"


TABLE = NetworkTable(
    {"example.org": ["192.0.2.0/24", "2001:db8::/32"], "no-mail.example": []},
)

handlers = define_event_handlers(
    name="spf", actions={"add_header"}, facts={"client"}, asks={MaySend: TABLE}
)


@handlers.mail(reply=False)
def begin(event: Mail, ctx: Context) -> Context:
    """Ask, and do not wait: the message comes meanwhile. Mail from this machine may have no address."""
    client, domain = facts(ctx).client, event.sender.rpartition("@")[2].lower()
    if client is None or not isinstance(client.address, IPv4Address | IPv6Address):
        return ctx
    return ask(ctx, "spf", MaySend(str(client.address), domain), within=8)


@handlers.end_of_message(needs={"spf"})
def judge(event: EndOfMessage, ctx: Context) -> Context:
    """Called when the answer is there, or late."""
    found = answer(ctx, "spf", failed="temperror", late="temperror", unasked="none")
    if found == "fail":
        return reject(ctx, "5.7.23", "This client may not send for the sender's domain")
    return add_header(ctx, "X-Sender-Network", found)


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
