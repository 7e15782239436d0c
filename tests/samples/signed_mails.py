"""Mails signed by OpenDKIM, dkimpy and the sample, and what each of the three says of the signatures.

    python -m tests.samples.signed_mails --mails 200

signs so many mails in the ways of `tests.samples.signed_kinds`, changes some of them on their way, and
prints for each kind what `samples/filters/authentication_results.py` writes, what dkimpy says, and what
OpenDKIM writes. Then `samples/filters/dkim_signer.py` signs some, which the others must find good. It
needs what `tests.integration.fetch_milters` gets.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import dkim
from attrs import frozen

from demyjpy.cli.commands.send import play_mail, profile_of
from demyjpy.cli.program import build_parser
from demyjpy.lookups.dkim import CheckDkim, SignDkim
from demyjpy.lookups.dmarc import DmarcPolicy
from demyjpy.lookups.spf import CheckSpf
from demyjpy.message import parse_authentication_results
from demyjpy.testing import Postfix, run
from tests.integration.fetch_milters import what_is_missing
from tests.integration.foreign import opendkim
from tests.integration.signer import keys, mail
from tests.lookups.records import Records
from tests.samples.keys import PRIVATE, PUBLIC, good_keys
from tests.samples.pages import CLIENT, USER, sample, sent
from tests.samples.signed_kinds import ByOpenDkim, Kind, dkimpy_kinds, opendkim_kinds

RECORDS: Final = {
    "s1": PUBLIC,
    "revoked": "v=DKIM1; k=rsa; p=",
    "broken": "v=DKIM1; k=rsa; p=AAAA",
    "sha1only": PUBLIC.replace("k=rsa;", "k=rsa; h=sha1;"),
    "service": PUBLIC.replace("k=rsa;", "k=rsa; s=chat;"),
    "strict": PUBLIC.replace("k=rsa;", "k=rsa; t=s;"),
    "testing": PUBLIC.replace("k=rsa;", "k=rsa; h=sha1:sha256; t=y; n=on test;"),
}


@frozen
class Told:
    """What the three say of a mail: the results for its first signature."""

    sample: str
    dkimpy: str
    opendkim: str

    @property
    def agree(self) -> bool:
        """Whether it is good for all, or for none."""
        return len({one == "pass" for one in (self.sample, self.dkimpy, self.opendkim)}) == 1


# ---------------------------------------------------------------------------------------- OpenDKIM
def dns_of() -> dict[str, str]:
    """The keys by selector, that of somebody else among them."""
    return {**RECORDS, "other": keys().record.decode()}


@contextmanager
def signing(place: Path, settings: Any) -> Iterator[str]:
    """An OpenDKIM that signs for the domain; its address."""
    (place / "key").write_text(PRIVATE, encoding="ascii")
    own = {"Domain": "test", "Selector": "s1", "KeyFile": str(place / "key")}
    with opendkim(place, Mode="s", InternalHosts="192.0.2.1", **own, **settings) as address:
        yield address


@contextmanager
def verifying(place: Path) -> Iterator[str]:
    """An OpenDKIM that verifies; its address."""
    lines = (f"{name}._domainkey.test {record}\n" for name, record in dns_of().items())
    (place / "dns").write_text("".join(lines), encoding="ascii")
    own = {"TestDNSData": str(place / "dns"), "AlwaysAddARHeader": "yes", "AuthservID": "open"}
    with opendkim(place, Mode="v", **own) as address:
        yield address


async def _added(address: str, contents: Iterable[bytes], name: str) -> list[str]:
    """The field of a name that the milter adds to each."""
    envelope = ("--from", "a@test", "--rcpt", "b@test")
    arguments = build_parser().parse_args(["send", "--to", address, "-", *envelope])
    found = []
    for content in contents:
        played = await play_mail(arguments, content, profile_of("postfix", {}), lambda outcome: None)
        added = [one for one in played.edits if getattr(one, "name", "") == name]
        found.append(str(added[0].raw) if added else "")
    return found


def added(address: str, contents: Iterable[bytes], name: str) -> list[str]:
    """The field of a name that the milter at an address adds to each of these mails."""
    return asyncio.run(_added(address, contents, name))


def told_by_opendkim(place: Path, contents: list[bytes]) -> list[str]:
    """The results in its Authentication-Results."""
    with verifying(place) as address:
        values = added(address, contents, "Authentication-Results")
    return [parse_authentication_results(value).get("dkim") or "nothing" for value in values]


# -------------------------------------------------------------------------------- dkimpy, the sample
def told_by_dkimpy(content: bytes) -> str:
    """The result of its verify; the name of the error if it raises one."""
    records = {f"{name}._domainkey.test.".encode(): text.encode() for name, text in dns_of().items()}
    try:
        is_good = dkim.DKIM(content).verify(0, lambda name, timeout=5: records.get(name))
    except dkim.DKIMException as error:
        return type(error).__name__
    return "pass" if is_good else "fail"


def told_by_sample(content: bytes) -> str:
    """The result in its Authentication-Results."""
    names = {(f"{name}._domainkey.test", "TXT"): (text,) for name, text in dns_of().items()}
    resources = {"dns": Records(names)}
    answers = {
        CheckDkim: lambda question: question.perform(resources),
        CheckSpf: "none",
        DmarcPolicy: None,
    }
    make = sample("authentication_results").make
    result = run(
        make, sent(CLIENT, content), mta=Postfix(), settings={"server": "ours"}, answers=answers
    )
    return result.message.authentication_results()[0].get("dkim") or "nothing"


def signed_by_sample(place: Path, content: bytes) -> bytes:
    """The mail as it is delivered if a user sends it."""
    (place / "key").write_text(PRIVATE, encoding="ascii")
    resources = {"keys": good_keys("test")}
    settings = {"selector": "s1", "keys": {"test": str(place / "key")}}
    answers = {SignDkim: lambda question: question.perform(resources)}
    make = sample("dkim_signer").make
    result = run(make, sent(USER, content), mta=Postfix(), settings=settings, answers=answers)
    delivered: bytes = result.delivered
    return b"DKIM-Signature:" + delivered.partition(b"DKIM-Signature:")[2]


# ------------------------------------------------------------------------------------- all of it
def signed(place: Path, kinds: list[Kind]) -> list[bytes]:
    """A mail of each of these kinds, by its number, as it comes."""
    contents = [mail(number) for number in range(len(kinds))]
    found: dict[int, bytes] = {}
    groups: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds):
        if isinstance(kind.signed, ByOpenDkim):
            groups.setdefault(repr(sorted(kind.signed.settings.items())), []).append(number)
        else:
            found[number] = kind.signed.sign(contents[number])
    for numbers in groups.values():
        with signing(place, kinds[numbers[0]].signed.settings) as address:
            lines = added(address, [contents[one] for one in numbers], "DKIM-Signature")
        for number, line in zip(numbers, lines, strict=True):
            field = f"DKIM-Signature:{line}\n".replace("\n", "\r\n").encode()
            found[number] = field + contents[number]
    return [kind.change(found[number]) for number, kind in enumerate(kinds)]


def played(kinds: list[Kind]) -> list[Told]:
    """What is said of a mail of each of these kinds."""
    with tempfile.TemporaryDirectory(prefix="sm") as name:
        place = Path(name)
        contents = signed(place, kinds)
        theirs = told_by_opendkim(place, contents)
        return [
            Told(told_by_sample(one), told_by_dkimpy(one), their)
            for one, their in zip(contents, theirs, strict=True)
        ]


def signed_by_us(mails: int) -> Counter[tuple[str, str]]:
    """What dkimpy and OpenDKIM say of mails that the sample has signed."""
    with tempfile.TemporaryDirectory(prefix="sm") as name:
        place = Path(name)
        contents = [signed_by_sample(place, mail(number)) for number in range(mails)]
        theirs = told_by_opendkim(place, contents)
        return Counter(zip(map(told_by_dkimpy, contents), theirs, strict=True))


def kinds_of(mails: int) -> list[Kind]:
    """So many, half of them signed by OpenDKIM, all kinds in turn."""
    half = mails // 2
    return [
        *islice(cycle(dkimpy_kinds()), mails - half),
        *islice(cycle(opendkim_kinds()), half),
    ]


def main() -> int:
    """Print what was said of each kind; 1 if it is not the same, and nobody knows why."""
    parser = argparse.ArgumentParser(prog="python -m tests.samples.signed_mails")
    parser.add_argument("--mails", type=int, default=200)
    mails = parser.parse_args().mails
    if missing := what_is_missing():
        raise SystemExit(f"{missing}: run `python -m tests.integration.fetch_milters`")
    kinds = kinds_of(mails)
    rows: Counter[tuple[str, Told, str]] = Counter()
    for kind, told in zip(kinds, played(kinds), strict=True):
        by = "OpenDKIM" if isinstance(kind.signed, ByOpenDkim) else "dkimpy"
        rows[f"{by}: {kind.name}", told, "" if told.agree else kind.why or "WHY?"] += 1
    print(f"{'signed by':<58}{'mails':>5}  {'sample':<10}{'OpenDKIM':<10}dkimpy")
    for (name, told, why), count in rows.items():
        end = f"  < {why}" if why else ""
        print(f"{name:<58}{count:>5}  {told.sample:<10}{told.opendkim:<10}{told.dkimpy}{end}")
    ours = signed_by_us(mails // 4)
    for (theirs, other), count in ours.items():
        print(f"{'the sample':<58}{count:>5}  {'':<10}{other:<10}{theirs}")
    good = sum(count for (*_, why), count in rows.items() if not why)
    words = sum(count for (_, told, _), count in rows.items() if told.sample == told.opendkim)
    print(f"of {mails} mails {good} are good for all three or for none; < marks the others")
    print(f"the sample has the same word as OpenDKIM for {words}")
    return int(any(why == "WHY?" for *_, why in rows) or set(ours) != {("pass", "pass")})


if __name__ == "__main__":
    raise SystemExit(main())
