"""What filters need of a machine: a DNS server that knows a few records only, and a place for their log.

The records are SPF policies and a key. What is logged is read, and forgotten: else who logs would stand
still as soon as some ten messages lie there.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
        with _answering(server, answer_to):
            yield


@contextmanager
def log_socket(path: Path = Path("/dev/log")) -> Iterator[None]:
    """A place for syslog messages while the block runs, if nobody reads any: filters need one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        if not log.connect_ex(str(path)):
            yield
            return
        path.unlink(missing_ok=True)
        log.bind(str(path))
        try:
            with _answering(log, lambda packet: b""):
                yield
        finally:
            path.unlink()


@contextmanager
def _answering(server: socket.socket, answer: Callable[[bytes], bytes]) -> Iterator[None]:
    """A thread that takes each packet until an empty one, and sends the answer, if that is not empty."""

    def serve() -> None:
        while True:
            packet, client = server.recvfrom(65_536)
            if not packet:
                return
            said = answer(packet)
            if said:
                server.sendto(said, client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(server.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", server.getsockname())
        thread.join(5)
