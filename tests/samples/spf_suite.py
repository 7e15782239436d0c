"""The test suite of RFC 7208, asked of `demyjpy.lookups.spf` and of pyspf alone.

    python -m tests.samples.spf_suite

gets the suite out of pyspf's source package, and what reads it, into a directory beside the servers of
`tests.integration.fetch_mtas`. DNS is a name server of its own on loopback, which has the zones of the
suite. Each result must be one that the suite allows.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import asyncio
import importlib
import socket
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import spf
from attrs import frozen

from demyjpy.lookups.dns import Resolver
from demyjpy.lookups.spf import CheckSpf
from demyjpy.questions import Answered
from tests.integration.fetch_mtas import PREFIX, run_loudly
from tests.lookups.servers import ask_once

PYSPF: Final = "pyspf==2.0.14"
YAML: Final = "pyyaml>=6"
SUITE: Final = "rfc7208-tests.yml"
MOST_ALIASES: Final = 12

Zone = dict[str, list[tuple[str, Any]]]
"""Records by name: kind and value. The kind ``TIMEOUT`` stands for a server that does not answer."""


@frozen
class Case:
    """One test: what is asked, and which results are allowed."""

    scenario: str
    name: str
    client: str
    helo: str
    sender: str
    allowed: tuple[str, ...]
    zone: Zone


def fetch(place: Path) -> Path:
    """The file of the suite, and PyYAML beside it; what is there is not fetched again."""
    place.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    if not (place / SUITE).exists():
        run_loudly(*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", place, PYSPF)
        (packed,) = place.glob("pyspf-*.tar.gz")
        with tarfile.open(packed) as archive:
            (member,) = (one for one in archive.getmembers() if one.name.endswith(f"test/{SUITE}"))
            found = archive.extractfile(member)
            (place / SUITE).write_bytes(found.read() if found else b"")
    if not (place / "yaml").exists():
        run_loudly(*pip, "install", "--no-deps", "--target", place, YAML)
    return place / SUITE


def cases_in(file: Path) -> Iterator[Case]:
    """The tests of the suite, in order."""
    sys.path.append(str(file.parent))
    yaml = importlib.import_module("yaml")
    with file.open("rb") as text:
        for scenario in yaml.safe_load_all(text):
            records = scenario["zonedata"].items()
            zone = {str(name).lower(): [*records_of(told)] for name, told in records}
            for name, one in scenario["tests"].items():
                result = one["result"]
                yield Case(
                    scenario["description"],
                    name,
                    str(one["host"]),
                    one["helo"],
                    one["mailfrom"],
                    (result,) if isinstance(result, str) else tuple(result),
                    zone,
                )


def records_of(told: list[Any]) -> Iterator[tuple[str, Any]]:
    """The records of a name. Those of type SPF count as TXT if it has none (the suite says so)."""
    rows = [one if isinstance(one, str) else next(iter(one.items())) for one in told]
    has_texts = any(row[0] == "TXT" for row in rows)
    for row in rows:
        kind, value = (row, "") if isinstance(row, str) else row
        if kind == "SPF":
            if has_texts:
                continue
            kind = "TXT"
        if value != "NONE":
            yield kind, value


def found_in(zone: Zone, name: str, kind: str) -> list[tuple[str, str, Any]] | None:
    """Name, kind and value of each record for a question, aliases first; None if nobody answers.

    `KeyError` if there is no such name.
    """
    found: list[tuple[str, str, Any]] = []
    for _ in range(MOST_ALIASES):
        if name.lower() not in zone and name.startswith("error."):
            return None
        records = zone[name.lower()]
        mine = [(name, told, value) for told, value in records if told in (kind, "CNAME")]
        if any(value == "TIMEOUT" for _, _, value in mine):
            return None
        if not mine and any(told == "TIMEOUT" for told, _ in records):
            return None
        found += mine
        if not mine or mine[0][1] != "CNAME" or kind == "CNAME":
            return found
        name = mine[0][2]
    return found


def rdata_of(kind: str, value: Any) -> Any:
    """A record as dnspython has it."""
    text = " ".join(map(str, value)) if kind == "MX" else str(value)
    if kind == "TXT":
        pieces = [value] if isinstance(value, str) else value
        data = b"".join(one.encode() for one in pieces)
        parts = [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
        text = " ".join(f'"{"".join(f"{chr(92)}{byte:03}" for byte in part)}"' for part in parts)
    elif kind in ("CNAME", "PTR", "MX") and not text.endswith("."):
        text += "."
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), text)


class NameServer(asyncio.DatagramProtocol):
    """Answers by a zone, as a resolver that follows aliases."""

    def __init__(self) -> None:
        self.zone: Zone = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked, recursion_available=True)
        (question,) = asked.question
        name = b".".join(question.name.labels[:-1]).decode()  # nothing in it is escaped
        try:
            found = found_in(self.zone, name, dns.rdatatype.to_text(question.rdtype))
        except KeyError:
            found = []
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if found is None:
            answer.set_rcode(dns.rcode.SERVFAIL)
        for owner, kind, value in found or ():
            where = dns.name.from_text(f"{owner}.")
            answer.find_rrset(
                answer.answer, where, dns.rdataclass.IN, dns.rdatatype.from_text(kind), create=True
            ).add(rdata_of(kind, value), 60)
        self.transport.sendto(answer.to_wire(max_size=65_535), address)


async def ours(cases: list[Case]) -> list[str]:
    """The results of `CheckSpf`."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", 0))
    results = []
    async with Resolver("127.0.0.1", port=transport.get_extra_info("sockname")[1]) as resolver:
        for case in cases:
            server.zone = case.zone
            question = CheckSpf(case.client, case.helo, case.sender)
            found = await ask_once(question, {"dns": resolver}, 20)
            results.append(found.value if isinstance(found, Answered) else str(found))
    transport.close()
    return results


def alone(cases: list[Case]) -> list[str]:
    """The results of pyspf, with a way to DNS as in its own driver of the suite."""
    results = []
    before = spf.DNSLookup
    for case in cases:

        def look_up(name: str, kind: str, *more: Any, zone: Zone = case.zone) -> list[Any]:
            try:
                found = found_in(zone, name.rstrip("."), kind)
            except KeyError:
                return []
            if found is None:
                raise spf.TempError("DNS timeout")
            return [((owner, told), plain(told, value)) for owner, told, value in found]

        spf.DNSLookup = look_up
        results.append(spf.query(i=case.client, s=case.sender, h=case.helo).check()[0])
    spf.DNSLookup = before
    return results


def plain(kind: str, value: Any) -> Any:
    """A value of the suite as pyspf's drivers give it."""
    if kind == "TXT":
        return [one.encode() for one in ([value] if isinstance(value, str) else value)]
    return socket.inet_pton(socket.AF_INET6, value) if kind == "AAAA" else value


def main() -> int:
    """Print figures by scenario, and each result that the suite does not allow; 1 if ours has one."""
    parser = argparse.ArgumentParser(prog="python -m tests.samples.spf_suite")
    parser.add_argument("--place", type=Path, default=PREFIX / "spf-suite")
    cases = [*cases_in(fetch(parser.parse_args().place))]
    counts: Counter[tuple[str, str]] = Counter()
    wrong = 0
    for case, our, their in zip(cases, asyncio.run(ours(cases)), alone(cases), strict=True):
        counts[case.scenario, "tests"] += 1
        counts[case.scenario, "ours"] += our in case.allowed
        counts[case.scenario, "pyspf"] += their in case.allowed
        wrong += our not in case.allowed
        if our not in case.allowed or their not in case.allowed:
            print(f"{case.name}: the suite has {' or '.join(case.allowed)}, we {our}, pyspf {their}")
    print(f"\n{'scenario':<44}{'tests':>6}{'ours':>6}{'pyspf':>7}")
    for scenario in dict.fromkeys(case.scenario for case in cases):
        figures = [counts[scenario, kind] for kind in ("tests", "ours", "pyspf")]
        print(f"{scenario:<44}{figures[0]:>6}{figures[1]:>6}{figures[2]:>7}")
    sums = [
        sum(counts[one, kind] for one, told in counts if told == kind)
        for kind in ("tests", "ours", "pyspf")
    ]
    print(f"{'all':<44}{sums[0]:>6}{sums[1]:>6}{sums[2]:>7}")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
