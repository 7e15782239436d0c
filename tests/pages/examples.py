"""The pages as somebody sees them: a replay of two filters, a session, a milter's status."""

import math
import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any

from demyjpy.cli.program import main
from demyjpy.metrics.page import Status, page
from demyjpy.metrics.plot import Moment
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import Trace, write

FILTER = """
    from demyjpy import add_header, define_event_handlers, reject

    handlers = define_event_handlers(name="office", actions={"add_header"}, state={"size": 0})
    REFUSED = REFUSED_SENDERS

    @handlers.mail
    def check_sender(event, ctx):
        '''Who is on the list sends nothing here.'''
        if event.sender.endswith(REFUSED):
            return reject(ctx, "5.7.1", "we know you", code=550)
        return ctx

    @handlers.recipient
    def count(event, ctx):
        if event.address.startswith("nobody"):
            return reject(ctx, "5.1.1", "no such user", code=550)
        return ctx.set("recipients", (*ctx.get("recipients", ()), event.address))

    @handlers.header
    def subject(event, ctx):
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.body
    def body(event, ctx):
        return ctx.set("size", ctx["size"] + len(event.data))

    @handlers.end_of_message
    def report(event, ctx):
        size = ctx["size"]
        return add_header(ctx, "X-Size", SIZE)
"""
OLD = ('("@spam.example",)', "str(size)")
NEW = ('("@bulk.example",)', '"many" if size > 5000 else str(size)')
LONG = "averylongname" * 8
SUBJECTS = ("<script>alert(1)</script> offer & reply", "minutes of Monday", LONG)


def filters(place: Path) -> None:
    """The two filters, ``old.py`` and ``new.py``."""
    for name, (refused, size) in {"old": OLD, "new": NEW}.items():
        text = dedent(FILTER).replace("REFUSED_SENDERS", refused).replace("SIZE", size)
        (place / f"{name}.py").write_text(text)


def trace(place: Path) -> None:
    """Sessions with the old one: ``t.jsonl``."""
    namespace: dict[str, Any] = {"__name__": "old"}
    exec((place / "old.py").read_text(), namespace)
    traces = []
    domains = ("example.org", "bulk.example", "spam.example", "example.net")
    for number in range(24):
        script = (
            session().mail(f"ann{number}@{domains[number * number % 7 % 4]}").rcpt("bob@example.net")
        )
        script = (
            script.rcpt("nobody@example.net") if number % 5 == 2 else script.rcpt(f"{LONG}@example.net")
        )
        mail = f"Subject: {SUBJECTS[number % 3]}\n\n" + f"{'hello ' * 12}\n" * (20 * (number % 8))
        made = run(namespace["handlers"], script.message(mail), mta=Postfix()).trace
        records = tuple({**one, "session": f"s{number}"} for one in made.records)
        traces.append(Trace(f"s{number}", records))
    write(place / "t.jsonl", traces)


def status() -> Status:
    """That of a milter after a busy hour."""
    start = 1_764_500_000.0
    fates = {"accepted": 6.0, "rejected": 2.5, "tempfailed": 0.6, "quarantined": 0.25, "discarded": 0.0}
    counts = dict.fromkeys(fates, 0.0)
    history = []
    for number in range(361):
        history.append(Moment(start + 10 * number, dict(counts)))
        for at, (fate, rate) in enumerate(fates.items()):
            wave = 1 + 0.6 * math.sin(number / 40 + at) + 0.3 * math.sin(number * (at + 3) / 2.1)
            counts[fate] += max(0, round(rate * wave))
    text = f"Traceback (most recent call last):\n  File \"greylist.py\", line 88\nKeyError: '{LONG}'\n"
    error = {"session": "9f3c21", "queue_id": "4F2A1B7C", "handler": "greylist.recipient"}
    return Status(
        about={
            "filter": "/srv/filters/main.py:handlers",
            "listens on": "unix:/run/demyjpy/main.sock",
            "negotiated": "version 6: add_header, quarantine; without unknown; no answer to body",
        },
        now=start + 3600,
        started=start - 90_000,
        is_ready=True,
        history=history,
        handlers=[
            ("end_of_message", "dkim.verify", 18_000, 310.2),
            ("recipient", "greylist.recipient", 52_000, 91.3),
            ("header", f"company.filters.{LONG}.tag", 410_000, 9.2),
            ("mail", "acl.mail", 19_000, 0.8),
        ],
        refusals={"greylist": 4120, "blocklist": 2210, "acl": 933, "": 12},
        answers={("recipient", "tempfailed"): 4120, ("connect", "rejected"): 2210},
        errors=2,
        last_errors=[{**error, "time": start + 3500, "traceback": text}],
    )


def pages(place: Path) -> dict[str, Path]:
    """All of them, by name."""
    filters(place)
    trace(place)
    (place / "status.html").write_text(page(status()))
    empty = Status(about={"filter": "x.py"}, now=0.0, started=0.0, is_ready=False)
    (place / "status-empty.html").write_text(page(empty))
    before = Path.cwd()
    os.chdir(place)
    try:
        with redirect_stdout(StringIO()):
            main(["replay", "t.jsonl", "--diff", "old.py", "new.py", "--html", "report.html"])
            main(["replay", "t.jsonl", "--html", "report-same.html"])
            main(["replay", "t.jsonl", "new.py", "--step", "--html", "session.html"])
    finally:
        os.chdir(before)
    names = ("status", "status-empty", "report", "report-same", "session", "session-2", "session-3")
    return {name: place / f"{name}.html" for name in names}
