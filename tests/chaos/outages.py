"""What must hold while servers that a filter asks are away, by what its clients have seen. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

KINDS = ("redis", "sql", "dns")


@frozen
class Mail:
    """One mail: when it began and ended, its slowest answer, and what became of its questions.

    ``reply``: the code of the answer to its recipient, 250 if it went on. Times are seconds of a clock.
    """

    begun: float
    ended: float
    slowest: float
    reply: int
    heard: dict[str, str]


@frozen
class Outage:
    """A server of this kind was away from ``begun`` until it was there again, at ``restored``."""

    kind: str
    fault: str
    begun: float
    restored: float
    ended: float


HEAD = (
    f"{'server':6}{' fault':6}{'away s':>7}{'mails':>7}{'failed':>7}{'late':>6}{'slowest s':>10}"
    f"{'then s':>8}{'first s':>9}{'last s':>9}"
)
"""The slowest answer of all, and of the mails that came later; when it was back: the first answer of the
server, and the last failure."""


@frozen
class Row:
    """The figures of one outage."""

    kind: str
    fault: str
    away: float
    mails: int
    failed: int
    late: int
    slowest: float
    rest: float
    """The slowest answer without those of the first seconds, in which the breaker is still closed."""
    first_back: float
    all_back: float

    def as_text(self) -> str:
        """In a line, below `HEAD`."""
        return (
            f"{self.kind:6}{self.fault:6}{self.away:7.1f}{self.mails:7}{self.failed:7}{self.late:6}"
            f"{self.slowest:9.2f}{self.rest:9.2f}{self.first_back:9.1f}{self.all_back:9.1f}"
        )


def row_of(outage: Outage, mails: Iterable[Mail], settled: float) -> Row:
    """Its figures. ``settled``: seconds from the beginning after which no question waits any more."""
    kind, seen = outage.kind, [one for one in mails if outage.begun <= one.ended <= outage.ended]
    down = [one for one in seen if one.begun < outage.restored]
    after = [one for one in seen if one.ended >= outage.restored]
    answered = [one.ended for one in after if one.heard[kind] == "answered"]
    others = [one.ended for one in after if one.heard[kind] != "answered"]
    calm = [one.slowest for one in down if one.begun > outage.begun + settled]
    return Row(
        kind,
        outage.fault,
        outage.restored - outage.begun,
        len(seen),
        sum(one.heard[kind] == "failed" for one in seen),
        sum(one.heard[kind] == "late" for one in seen),
        max((one.slowest for one in seen), default=0.0),
        max(calm, default=0.0),
        min(answered, default=float("inf")) - outage.restored,
        max(others, default=outage.restored) - outage.restored,
    )


def problems_of(
    outages: Sequence[Outage], mails: Sequence[Mail], most: float, back: float
) -> Iterator[str]:
    """What was not as the policy says.

    ``most``: seconds for the slowest answer; ``back``: seconds after which a server must be asked again.
    """
    for one in mails:
        away = {outage.kind for outage in outages if outage.begun <= one.ended <= outage.ended}
        unheard = {kind for kind in KINDS if one.heard[kind] != "answered"}
        if unheard - away:
            yield f"{one.begun:.2f} to {one.ended:.2f}: only {away or 'nothing'} was away: {one.heard}"
        wanted = 451 if "sql" in unheard else 250
        if one.reply != wanted:
            yield f"{one.begun:.2f}: expected {wanted}, got {one.reply} with {one.heard}"
        if one.slowest > most:
            yield f"{one.begun:.2f}: an answer took {one.slowest:.2f} s, {most:g} s at most: {one.heard}"
    for outage in outages:
        row = row_of(outage, mails, 0.0)
        if not row.failed + row.late:
            yield f"{outage.kind} {outage.fault}: nobody has noticed it"
        if max(row.first_back, row.all_back) > back:
            yield (
                f"{outage.kind} {outage.fault}: the first answer came {row.first_back:.1f} s after it "
                f"was back, the last failure {row.all_back:.1f} s after it; {back:g} s at most"
            )
