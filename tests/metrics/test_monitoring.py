"""samples/monitoring: dashboard and alert rules read what a running filter shows; logs are rotated."""

import getpass
import grp
import json
import logging
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from demyjpy.cli.logs import logging_to
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import Server
from tests.drivers.filters import wait_until
from tests.integration.fetch_servers import program
from tests.lookups.servers import need
from tests.metrics.promql import mistakes, read_query
from tests.metrics.test_serving import served
from tests.test_docs import ROOT, anchors, read

FILES = ROOT / "samples/monitoring"
DASHBOARD = json.loads(read(FILES / "grafana-dashboard.json"))
RULES = read(FILES / "alerts.yml")
EXPRESSIONS = re.findall(r"^ +expr: (.+)$", RULES, re.MULTILINE)
QUERIES = [one["expr"] for panel in DASHBOARD["panels"] for one in panel["targets"]]

FILTER = """
from demyjpy import add_header, count, define_event_handlers, merge_handlers, reject, with_policy
from demyjpy.lookups.redis import Redis, RedisRead

rules = define_event_handlers(
    name="rules", actions={"add_header"},
    resources={"redis": lambda settings: Redis("redis://127.0.0.1:1/0", most_failures=1)},
)
trial = define_event_handlers(name="trial")

@rules.mail
def mail(event, ctx):
    return {}[event.sender] if event.sender == "bad" else ctx

@rules.recipient(asking=lambda event, ctx: {"known": RedisRead(("get", event.address))})
def recipient(event, ctx):
    ctx = count(ctx, "seen", kind="any")
    return reject(ctx) if event.address == "refused" else ctx

@rules.end_of_message
def end_of_message(event, ctx):
    return add_header(ctx, "X-A", "b")

@trial.end_of_message
def refuse(event, ctx):
    return reject(ctx)

handlers = merge_handlers(rules, with_policy(trial, enforce=False))
"""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What /metrics of a filter shows when everything has happened once."""
    with served(tmp_path_factory.mktemp("filter"), text=FILTER) as milter:
        for sender, recipient in (("bad", "bob"), ("ann", "refused"), ("ann", "bob")):
            script = session().mail(sender).rcpt(recipient).message("Subject: a\n\nb\n")
            Server(milter.address).run(script, mta=Postfix())
        wait_until(lambda: milter.figure('demyjpy_messages_total{verdict="accepted"}') == 1)
        return milter.get("/metrics")[1]


@pytest.fixture(scope="module")
def shown(scraped: str) -> dict[str, set[str]]:
    """The labels of each series there; Prometheus itself has `up`."""
    found: defaultdict[str, set[str]] = defaultdict(set, up=set())
    for name, labels in re.findall(r"^(\w+)(?:{(.*)})? \S+$", scraped, re.MULTILINE):
        found[name] |= set(re.findall(r'(\w+)="', labels))
    return dict(found)


def test_the_dashboard_reads_what_a_filter_shows(shown: dict[str, set[str]]) -> None:
    """Each metric with each label, in queries, in legends, and in the choice at the top."""
    assert len(QUERIES) > 20
    assert [(query, found) for query in QUERIES if (found := mistakes(query, shown))] == []
    for panel in DASHBOARD["panels"]:
        for one in panel["targets"]:
            legend = set(re.findall(r"{{(\w+)}}", one["legendFormat"]))
            query = read_query(one["expr"])
            assert legend - {"instance"} <= query.grouped, one
    for chosen in DASHBOARD["templating"]["list"][1:]:
        (selector,) = re.findall(r"^label_values\((.*), \w+\)$", chosen["definition"])
        assert mistakes(selector, shown) == []


def test_the_dashboard_shows_all_that_is_counted(shown: dict[str, set[str]]) -> None:
    """No figure is forgotten, and no two panels lie on each other."""
    read_there = {name for query in QUERIES for name, _ in read_query(query).metrics}
    parts = {name for name in shown if name.endswith(("_count", "_sum"))}  # of histograms
    assert shown.keys() - {"up"} - parts - read_there == set()
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_alert_rules_read_what_a_filter_shows(shown: dict[str, set[str]]) -> None:
    """And so do their tests; what they tell an operator to read is there."""
    assert [(one, found) for one in EXPRESSIONS if (found := mistakes(one, shown))] == []
    series = re.findall(r"series: '(.+)'", read(FILES / "alerts_test.yml"))
    assert [(one, found) for one in series if (found := mistakes(one, shown))] == []
    headings = re.findall(r"docs/troubleshooting\.md, ([^.:\"]+)\.", RULES)
    there = anchors(ROOT / "docs/troubleshooting.md")
    assert len(headings) >= 5
    assert {heading.lower().replace(" ", "-") for heading in headings} <= there


def test_a_mistake_in_a_query_is_seen(shown: dict[str, set[str]]) -> None:
    """A metric, a label in braces, a label in by(), a function that is none; and what is no PromQL."""
    wrong = 'summ by (colour) (rate(demyjpy_messages_total{verdikt="x", job="a"}[5m])) > demyjpy_no 1.5'
    assert mistakes(wrong, shown) == [
        "no metric summ",
        "no metric demyjpy_no",
        "demyjpy_messages_total has no verdikt",
        "nothing has the label colour",
    ]
    with pytest.raises(ValueError, match="expected PromQL, got ' § 2'"):
        read_query("up § 2")


# ---------------------------------------------------------------------------------------- programs
def tool(name: str, *arguments: object) -> str:
    """What a program of `tests.integration.fetch_servers` prints."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@need("prometheus")
def test_promtool_takes_the_rules_and_the_queries(tmp_path: Path) -> None:
    """It names each expression that it cannot parse; those of the dashboard are checked as rules."""
    queries = "".join(
        f"      - record: query:number{number}\n        expr: {json.dumps(query)}\n"
        for number, query in enumerate(QUERIES)
    )
    (tmp_path / "queries.yml").write_text(
        "groups:\n  - name: a\n    rules:\n" + queries.replace("$__rate_interval", "5m")
    )
    (tmp_path / "demyjpy-alerts.yml").write_text(RULES)
    (tmp_path / "prometheus.yml").write_text(read(FILES / "prometheus.yml"))
    said = tool("prometheus", "check", "rules", FILES / "alerts.yml", tmp_path / "queries.yml")
    assert re.findall(r"SUCCESS: (\d+) rules", said) == [str(len(EXPRESSIONS)), str(len(QUERIES))]
    assert "1 rule files found" in tool("prometheus", "check", "config", tmp_path / "prometheus.yml")


@need("prometheus")
def test_each_alert_fires_when_it_must() -> None:
    """And no one on a good day: promtool plays both."""
    tool("prometheus", "test", "rules", FILES / "alerts_test.yml")
    alerts = re.findall(r"- alert: (\w+)", RULES)
    tests = read(FILES / "alerts_test.yml")
    assert [one for one in alerts if f"alertname: {one}\n        exp_alerts:\n" not in tests] == []


@need("logrotate")
def test_logrotate_moves_the_log_and_the_filter_makes_it_again(tmp_path: Path) -> None:
    """With the shipped file, but for place and user; nothing that is logged is lost."""
    log = tmp_path / "rules.log"
    me = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    text = read(FILES / "logrotate").replace("/var/log/demyjpy", str(tmp_path))
    (tmp_path / "logrotate").write_text(text.replace("su filter filter", me))
    (tmp_path / "logrotate").chmod(0o644)
    arguments = ("-s", tmp_path / "state", tmp_path / "logrotate")
    with logging_to(str(log), "info", as_json=False):
        logging.getLogger("demyjpy").warning("before")
        assert "error" not in tool("logrotate", "-d", *arguments)
        tool("logrotate", "-f", *arguments)
        logging.getLogger("demyjpy").warning("after")
    assert log.stat().st_mode & 0o777 == 0o600  # it is demyjpy that has made it
    assert "before" in log.with_name("rules.log.1").read_text()
    assert "after" in log.read_text()
