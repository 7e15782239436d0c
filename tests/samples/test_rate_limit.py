"""The filter `rate_limit`: who is counted as what, who is told to come later, and with a real Redis."""

import pytest

from demyjpy import Count, Failed, Late, Note, SettingsError
from demyjpy.lookups.redis import RedisCount
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import serving
from samples.filters.rate_limit import make
from tests.lookups.servers import need, redis_server
from tests.samples.page_filters import check, filter_of_page

SETTINGS = {"dsn": "redis://localhost/0", "user": 2, "client": 5, "sender": 3, "seconds": 60}
CLIENT = session(client="192.0.2.7")
ANN = "Ann@example.org"


def played(script, answers, **settings):
    """A session with a mail to bob."""
    letter = script.rcpt("bob@example.net").message()
    return run(make, letter, answers=answers, settings={**SETTINGS, **settings})


def keys_of(script, **settings):
    """Under which keys is counted."""
    return [one.question.key for one in played(script, {RedisCount: 1}, **settings).asked]


@pytest.mark.parametrize(
    ("script", "keys"),
    [
        (CLIENT.mail(ANN), ["client:192.0.2.7/32", "sender:192.0.2.7/32 ann@example.org"]),
        (CLIENT.mail(""), ["client:192.0.2.7/32"]),
        (CLIENT.auth("Eve").mail(ANN), ["user:eve"]),
        (session(client="2001:db8::1").mail(""), ["client:2001:db8::/64"]),
        (session(client="127.0.0.1").mail(ANN), []),
        (session(client="").mail(ANN), []),
        (session(client="127.0.0.1").auth("eve").mail(ANN), ["user:eve"]),
        (CLIENT.mail("x" * 900), ["client:192.0.2.7/32", f"sender:192.0.2.7/32 {'x' * 487}"]),
    ],
)
def test_who_is_counted_as_what(script, keys):
    """Nobody counts as another by what he writes; a key is short."""
    assert keys_of(script) == [f"rate:60:mails:{key}" for key in keys]


def test_what_has_no_limit_is_not_counted():
    """Neither users nor others."""
    assert keys_of(CLIENT.mail(ANN), client=0) == ["rate:60:mails:sender:192.0.2.7/32 ann@example.org"]
    assert keys_of(CLIENT.auth("eve").mail(ANN), user=0) == []


TOO_MANY = "451 4.7.1 Too many mails from this {}, please try again later"


@pytest.mark.parametrize(
    ("user", "client", "sender", "kind"),
    [
        (2, 0, 0, None),
        (3, 0, 0, "user"),
        (0, 5, 3, None),
        (0, 6, 3, "client"),
        (0, 5, 4, "sender"),
        (0, 6, 4, "client"),
    ],
)
def test_who_has_sent_too_many_is_told_to_come_later(user, client, sender, kind):
    """As much as the limit comes in. The log has a line for the first that is too many."""
    script = CLIENT.auth("eve").mail(ANN) if user else CLIENT.mail(ANN)
    numbers = {"user": user, "client": client, "sender": sender}
    result = played(script, {RedisCount: lambda one: numbers[one.key.split(":")[3]]})
    if kind is None:
        assert (result.is_delivered, result.counts, result.notes) == (True, (), ())
    else:
        assert str(result.reply) == TOO_MANY.format(kind)
        assert result.counts == (Count("limited", 1, (("kind", kind),)),)
        limit = SETTINGS[kind]
        assert result.notes == (Note("too many", (("kind", kind), ("limit", limit))),)


def test_the_log_has_one_line_for_a_window():
    """The second that is too many is counted, and not noted."""
    result = played(CLIENT.auth("eve").mail(ANN), {RedisCount: 4})
    assert (len(result.counts), result.notes) == (1, ())


@pytest.mark.parametrize("outcome", [Failed("no route"), Late()])
@pytest.mark.parametrize("away", ["accept", "tempfail"])
def test_nobody_counts(outcome, away):
    """The settings say what is done then."""
    result = played(CLIENT.mail(ANN), {RedisCount: outcome}, away=away)
    assert result.is_delivered is (away == "accept")
    if away == "tempfail":
        assert str(result.reply) == "451 4.3.0 Mails cannot be counted now"


def test_recipients_are_counted_one_by_one():
    """Who has come before the limit gets the mail."""
    counts = iter(range(1, 100))
    script = CLIENT.auth("eve").mail(ANN)
    for number in range(30):
        script = script.rcpt(f"user{number}@example.net")
    answers = {RedisCount: lambda one: next(counts)}
    settings = {**SETTINGS, "counted": "recipients"}
    result = run(make, script.message(), answers=answers, settings=settings, mta=Postfix())
    assert result.recipients == ["user0@example.net", "user1@example.net"]
    assert {one.question.key for one in result.asked} == {"rate:60:recipients:user:eve"}


def test_it_can_be_tried():
    """It counts, and nobody is told anything."""
    result = played(CLIENT.auth("eve").mail(ANN), {RedisCount: 3}, enforce=False)
    assert result.is_delivered
    assert [one.code for one in result.withheld] == [451]


@pytest.mark.parametrize(
    "wrong", [{"client": -1}, {"client": 0, "user": 0, "sender": 0}, {"seconds": 0}]
)
def test_limits_that_are_none(wrong):
    """They are an error when the filter is loaded."""
    with pytest.raises(SettingsError, match="expected a limit for user, client or sender"):
        played(CLIENT.mail(ANN), {}, **wrong)


@need("redis")
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_over_a_socket(driver):
    """All connections count together; an answer for one key says nothing of another."""
    with redis_server() as redis:
        settings = {**SETTINGS, "dsn": f"redis://127.0.0.1:{redis.address}/0"}
        with serving(make, settings=settings, driver=driver, mta=Postfix()) as server:
            codes = [
                server.run(CLIENT.auth(user).mail(ANN)).steps[3].outcome.reply.code
                for user in ("eve", "EVE", "eve", "bob", "eve")
            ]
    assert codes == [250, 250, 451, 250, 451]


def test_what_holds_for_every_filter(tmp_path):
    """With the settings of its page; some have sent too many."""
    handlers = filter_of_page("rate_limit", tmp_path)
    check(handlers, {RedisCount: lambda one: 2000 if len(one.key) % 2 else 1})
