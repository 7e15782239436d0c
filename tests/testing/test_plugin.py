"""The pytest plugin: fixtures, option, and how failed assertions read."""

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

FILTER = """
from demyjpy import EndOfMessage, add_header, define_event_handlers, get_macro, reject, tempfail
from demyjpy.testing import Postfix, Sendmail, context, run, session

SCRIPT = session().mail("a@b").rcpt("c@d").message("Subject: x\\n\\n")
handlers = define_event_handlers(actions={"add_header"}, state={"n": 0})

@handlers.mail
def judge(event, ctx):
    return ctx if get_macro(ctx, "i") else reject(ctx, "5.7.1", "no queue id")
"""

IS_INSTALLED = any(point.value == "demyjpy.testing.plugin" for point in entry_points(group="pytest11"))


@pytest.fixture
def outcome(pytester: pytest.Pytester):
    """Runs test code beside the filter in another pytest; gives what came of it."""

    def outcome(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(FILTER + code)
        plugin = () if IS_INSTALLED else ("-p", "demyjpy.testing.plugin")
        return pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *options)

    return outcome


RUN = """
def test(milter_run, milter_mta):
    print("MTA", milter_mta and milter_mta.name, milter_run(handlers, SCRIPT).reply.code)
"""


@pytest.mark.parametrize(
    ("option", "printed"),
    [("--milter-mta=postfix", "MTA postfix 550"), ("--milter-mta=sendmail", "MTA sendmail 250")],
)
def test_the_option_chooses_the_mta(outcome, option, printed):
    """milter_run plays the MTA of --milter-mta."""
    result = outcome(RUN, option, "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*{printed}*"])


def test_both_mtas_are_the_default(outcome):
    """A filter that answers by a macro that only one of them has fails."""
    result = outcome(RUN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*-message 1: ReplyCode*", "*+message 1: Accept*"])
    outcome(RUN, "--milter-mta=both").assert_outcomes(failed=1)


def test_a_test_may_name_its_mta(outcome):
    """What a test says is stronger than the option."""
    code = """
def test(milter_run):
    assert milter_run(handlers, SCRIPT, mta=Sendmail()).is_delivered
"""
    outcome(code, "--milter-mta=postfix").assert_outcomes(passed=1)


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_a_filter_is_served_on_a_real_socket(outcome, driver):
    """milter_server starts as many as are wanted; results are those of run, without contexts."""
    code = f"""
import socket

def test(milter_server, milter_mta):
    server = milter_server(handlers, driver={driver!r})
    other = milter_server(define_event_handlers())
    assert server.address != other.address
    assert other.run(SCRIPT, mta=Postfix()).is_delivered
    assert server.run(SCRIPT, mta=Postfix()).verdict == run(handlers, SCRIPT, mta=Postfix()).verdict
    assert server.run(SCRIPT) == run(handlers, SCRIPT, mta=milter_mta)
    closed = define_event_handlers({{"connect": lambda event, ctx: reject(ctx)}})
    refused = milter_server(closed).run(SCRIPT)
    assert refused.verdict is not None
    assert refused.steps[0].context == {{}}
"""
    outcome(code, "--milter-mta=sendmail").assert_outcomes(passed=1)


def test_a_session_over_a_socket_may_end_early(outcome):
    """421 closes it: what the client would have said next is not said."""
    code = """
def test(milter_server):
    early = define_event_handlers({"mail": lambda event, ctx: tempfail(ctx, "4.7.0", "bye", code=421)})
    result = milter_server(early).run(SCRIPT, mta=Postfix())
    assert result.replies[-1] == "421 4.7.0 bye"
    assert len(result.steps) == 3
"""
    outcome(code).assert_outcomes(passed=1)


def test_a_server_is_asked_by_both_mtas(outcome):
    """And they must agree there, too."""
    code = """
import pytest

def test(milter_server):
    server = milter_server(handlers)
    with pytest.raises(AssertionError, match="which one it means"):
        server.run(SCRIPT)
"""
    outcome(code).assert_outcomes(passed=1)


def test_failed_assertions_show_what_differs(outcome):
    """Contexts, messages and results are compared line by line; other values are pytest's."""
    code = """
def test_context():
    ctx = context(handlers)
    assert add_header(ctx, "X", "y") == ctx.set("n", 1)

def test_message():
    result = run(handlers, SCRIPT, mta=Sendmail())
    result_mail = result.only.mail.message
    assert result_mail == result_mail.without("Received")

def test_value():
    result = run(handlers, SCRIPT, mta=Sendmail())
    assert result.message == result.message.without("X-Nothing").set("Subject", "other")

def test_other():
    assert [1] == [2]

def test_operator():
    assert context(handlers) != context(handlers)
"""
    result = outcome(code)
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "*Context == Context (- expected, + got)*",
            "*- n: 1*",
            "*+ n: 0*",
            "*+ queued: AddHeader(name='X'*",
            "*StoredMessage == StoredMessage*",
            "*+ Received:*",
            "*Message == Message*",
            "*- Subject: other*",
            "*At index 0 diff: 1 != 2*",
        ]
    )


def test_the_option_is_in_the_help(outcome):
    """With its values."""
    outcome("", "--help").stdout.fnmatch_lines(["*--milter-mta={both,postfix,sendmail}*"])
