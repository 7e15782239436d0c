"""A DNS server on loopback that knows a few records, and no others: SPF policies and a key."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

RECORDS: Final = {
    ("example.net.", "TXT"): '"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"',
    ("odd.example.com.", "TXT"): '"v=spf1 -all"',
    ("bank.example.", "TXT"): '"v=spf1 include:nowhere.example -all"',
    ("mx.example.net.", "A"): "192.0.2.7",
    ("s._domainkey.example.net.", "TXT"): '"v=DKIM1; k=rsa; p="',
}


def answer_to(packet: bytes) -> bytes:
    """The answer to one query."""
    query = dns.message.from_wire(packet)
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    asked = query.question[0]
    name = asked.name.to_text().lower()
    kind = dns.rdatatype.to_text(asked.rdtype)
    if (name, kind) in RECORDS:
        answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, RECORDS[name, kind]))
    elif name not in {known for known, _ in RECORDS}:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


@contextmanager
def serving(address: str) -> Iterator[None]:
    """The server on port 53 of an address of loopback while the block runs."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.sendto(b"", server.getsockname())
            thread.join(5)


def _serve(server: socket.socket) -> None:
    while True:
        packet, client = server.recvfrom(4096)
        if not packet:
            return
        server.sendto(answer_to(packet), client)
