"""The status page: what happened, who decided, and that nothing of it is more than text."""

import re

import pytest
from attrs import evolve

from demyjpy.metrics.page import Status, page
from demyjpy.metrics.plot import Moment, plot, totals
from tests.pages.examples import status
from tests.pages.reading import Reader, is_self_contained

EMPTY = Status(about={}, now=90.0, started=0.0, is_ready=False)
HOSTILE = "</pre><script>alert(1)</script>\"'&\u202e\x1b[31m"


def history(*counts, every=60.0):
    """Moments with so many accepted messages."""
    return [Moment(every * number, {"accepted": float(one)}) for number, one in enumerate(counts)]


def test_what_matters_comes_first():
    """Whether it works, what happened, who decided, what failed; then the rest."""
    found = page(status())
    order = ("Ready:", "What happened", "Who decided", "Last errors", "Slowest handlers", "What runs")
    places = [found.index(one) for one in order]
    assert places == sorted(places)
    assert is_self_contained(found)
    assert "Running for 1 d 2 h; as of 2025-11-30 11:53:20 UTC." in found
    assert found.index("greylist") < found.index("blocklist") < found.index("a limit of the library")
    assert found.index("dkim.verify") < found.index("acl.mail")
    assert "17.23 ms" in found
    assert '<meta http-equiv="refresh" content="30">' in found


def test_where_nothing_happened_it_says_so():
    """In words, and it is no plot; that it does not negotiate is the title, too."""
    found = page(EMPTY)
    assert is_self_contained(found)
    assert "<title>not ready: demyjpy</title>" in found
    assert "Running for 1 min 30 s" in found
    for words in ("No messages", "No filter has answered", "None.", "No handler has run."):
        assert words in found
    assert "<svg" not in found


def test_what_strangers_sent_is_text():
    """In each place that may show something of them."""
    error = {"time": 0, "session": HOSTILE, "queue_id": HOSTILE, "handler": "", "traceback": HOSTILE}
    found = page(
        evolve(
            EMPTY,
            about={"filter": HOSTILE},
            history=[Moment(0.0, {HOSTILE: 0.0}), Moment(60.0, {HOSTILE: 1.0})],
            handlers=[(HOSTILE, HOSTILE, 0.0, 0.0)],
            refusals={HOSTILE: 1.0},
            answers={(HOSTILE, HOSTILE): 1.0},
            errors=1.0,
            last_errors=[error],
        )
    )
    assert is_self_contained(found)
    assert "alert(1)" in found
    assert {one for one in found if not one.isprintable()} == {"\n"}
    assert "in <code>the library</code>" in found
    assert "<b>1</b>error<" in found


def test_lists_are_bounded():
    """The largest are shown."""
    many = {f"filter{number:03}": float(number) for number in range(100)}
    handlers = [("mail", f"handler{number:03}", 1.0, float(number)) for number in range(100)]
    found = page(evolve(EMPTY, refusals=many, handlers=handlers))
    assert found.count("filter0") == 20
    assert "filter099" in found
    assert len(re.findall("handler0", found)) == 15


# ------------------------------------------------------------------------------------------- plot
def test_a_plot_has_axes_with_units():
    """Messages a minute, round numbers; the time of day, round times; a line for each fate."""
    found = plot(history(0, 5, 15, 15, 55))
    assert "messages a minute" in found
    assert "time of day, UTC" in found
    heights = [int(one) for one in re.findall(r'text-anchor="end"[^>]*>(\d+)<', found)]
    assert heights == [0, 10, 20, 30, 40]
    assert re.findall(r">(\d\d:\d\d)<", found) == ["00:00", "00:01", "00:02", "00:03", "00:04"]
    assert 'points="0,157.5 250.0,157.5 500.0,135.0 750.0,180.0 1000.0,0.0"' in found
    assert "accepted 55" in found
    assert Reader(found).names >= {"svg", "polyline", "ul"}


def test_no_line_differs_by_its_colour_alone():
    """Each has a pattern of its own, which the legend shows, and a sign."""
    found = plot(status().history)
    patterns = re.findall(r'<polyline class="curve (\w+)" stroke-dasharray="([^"]*)"', found)
    assert len(dict(patterns)) == len({one for _, one in patterns}) == 5
    for kind, pattern in patterns:
        assert f'<li class="{kind}"><svg' in found
        assert found.count(f'stroke-dasharray="{pattern}"') == 2


@pytest.mark.parametrize(
    ("seconds", "first"), [(60.0, "00:00:00"), (3600.0, "00:00"), (86400.0, "00:00")]
)
def test_times_below_are_few(seconds, first):
    """Whatever the time that is shown."""
    found = plot([Moment(0.0, {"accepted": 0.0}), Moment(seconds, {"accepted": 9.0})])
    times = re.findall(r'text-anchor="middle">([\d:]+)<', found)
    assert times[0] == first
    assert 3 <= len(times) <= 6


def test_a_long_history_has_few_points():
    """And the last moment is one of them."""
    found = plot(history(*range(361), every=10.0))
    (points,) = re.findall(r'points="([^"]*)"', found)
    assert len(points.split()) <= 92
    assert points.split()[-1].startswith("1000.0,")


def test_a_clock_that_is_set_back_breaks_nothing():
    """Moments before the last one are left out."""
    back = [*history(0, 5, 9), Moment(30.0, {"accepted": 10.0})]
    assert "polyline" in plot(back)
    assert "polyline" not in plot(list(reversed(history(0, 5))))


def test_usual_fates_come_first():
    """Others behind them, by name."""
    counts = {"zzz": 1.0, "given up": 3.0, "rejected": 1.0, "accepted": 1.0}
    found = totals([Moment(0.0, {"given up": 1.0}), Moment(1.0, counts)])
    assert list(found.items()) == [("accepted", 1), ("rejected", 1), ("given up", 2), ("zzz", 1)]
    assert totals([]) == {}
