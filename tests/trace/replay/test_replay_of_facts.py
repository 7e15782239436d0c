"""Facts in a replay and in a shadow: as the filter knew them then."""

from typing import Any

from demyjpy import Context, accept, define_event_handlers, facts, recipients, reject
from demyjpy.actions import Continue, Reject
from demyjpy.cli.replay_jobs import Task
from demyjpy.drivers.options import ServerOptions
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.registry import Registry
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import shadow
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter, replay
from tests.engine.harness import CONNECT, EOH, EOM, HELO, MAIL, QUIT, RCPT, join, offer, packet
from tests.trace.rollout.test_shadow import Told

RELAYS = "192.0.2.0/24"
FAR = "from x (unknown [203.0.113.9]) by r1"
LETTER = session().mail("a@test").rcpt("b@test").message(f"Received: {FAR}\nSubject: x\n\nhello\n")


def careful(**options: Any) -> Registry:
    """It refuses what comes from a far client, and what is for nobody or from nobody."""
    handlers = define_event_handlers(facts={"origin_client", "sender", "recipients"}, **options)

    @handlers.end_of_message
    def judge(event: Any, ctx: Context) -> Context:
        known = facts(ctx)
        is_far = str(known.origin_client) == "[203.0.113.9]"
        is_known = known.sender is not None and len(recipients(ctx)) > 0
        return reject(ctx) if is_far else ctx if is_known else accept(ctx)

    return handlers


def test_a_replay_knows_the_same():
    """With the same relays; without them it would answer something else, and that is found."""
    trace = run(careful(), LETTER, mta=Postfix(), trusted_relays=RELAYS).trace
    assert compare_bytes(trace, Filter(careful(), trusted_relays=RELAYS)).is_same
    assert not compare_bytes(trace, Filter(careful())).is_same
    assert Task(None, trusted_relays=RELAYS).trusted_relays == RELAYS


def test_facts_that_a_recording_cannot_have_are_gaps():
    """The filter that was recorded had declined their events."""
    plain = define_event_handlers({"end_of_message": lambda event, ctx: ctx})
    trace = run(plain, LETTER, mta=Postfix()).trace
    found = replay(trace, Filter(careful()))
    assert set(found.gaps) == {"connect", "mail", "recipient", "header", "end_of_headers"}


def test_a_candidate_in_a_shadow_knows_the_same():
    """Its events are asked for, too."""
    told = Told()
    live = define_event_handlers({"end_of_message": lambda event, ctx: ctx}, name="live")
    both = shadow(live, careful(name="new"), report=told, trusted_relays=RELAYS)
    header = packet("L", b"Received\0 " + FAR.encode() + b"\0")
    with FilterConnection(Setup(as_on_connect(both)), "s") as milter:
        for one in (offer(), CONNECT, HELO, MAIL, RCPT, header, EOH, EOM, QUIT):
            milter.say(join([one]))
        milter.end()
    found = told.next()
    assert (found.old.verdict, found.new.verdict) == (Continue(), Reject())


def test_the_option_of_a_server():
    """Networks, however they are written."""
    options = ServerOptions(trusted_relays="192.0.2.0/24,2001:db8::/32")
    assert [str(one) for one in options.trusted_relays] == ["192.0.2.0/24", "2001:db8::/32"]
    setup = options.setup(careful(), lambda handler: False)
    assert setup.trusted_relays == options.trusted_relays
