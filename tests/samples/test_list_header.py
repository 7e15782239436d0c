"""The filter `list_header`: which mail gets which fields, whose fields go, and with a real table."""

import pytest

from demyjpy import Count, Failed, HandlerError, Late, Note, SettingsError, define_event_handlers, reject
from demyjpy import merge_handlers as merged
from demyjpy.lookups.tables import Lookup
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import serving
from samples.filters.list_header import make
from tests.samples.page_filters import check, filter_of_page

FIELDS = {
    "List-Id": "{text} <{local}.{domain}>",
    "List-Post": "<mailto:{address}>",
    "Precedence": "list",
}
SETTINGS = {"lists": "texthash:lists", "fields": FIELDS}
MAIL = session(client="192.0.2.7").mail("ann@example.com")
ROWS = {"talk@example.org": "Talk", "büro@example.org": "Büro", "news@example.org": "Büro für alle"}
PLAIN = "From: ann@example.com\nSubject: hi\n\nhello\n"


def played(recipients, content=PLAIN, rows=lambda one: ROWS.get(one.key), handlers=make, **settings):
    """A mail to these."""
    script = MAIL
    for one in recipients:
        script = script.rcpt(one)
    settings = {**SETTINGS, **settings} if handlers is make else None
    return run(handlers, script.message(content), answers={Lookup: rows}, settings=settings)


def fields_of(result):
    """The fields that the mail has more than at first, and all of lists."""
    return [(one.name, one.value) for one in result.message.fields[2:]]


TALK = [
    ("List-Id", "Talk <talk.example.org>"),
    ("List-Post", "<mailto:talk@example.org>"),
    ("Precedence", "list"),
]


@pytest.mark.parametrize(
    ("recipients", "fields", "counted"),
    [
        (["talk@example.org"], TALK, 1),
        (["Talk@Example.org", "bob@example.org", "talk@example.org"], TALK, 1),
        (["bob@example.org"], [], 0),
        (["talk@example.org", "news@example.org"], [], 1),
        (["büro@example.org", "<script>@example.org", "\udcff@example.org"], [], 0),
        ([*(f"user{number}@example.org" for number in range(60)), "talk@example.org"], TALK, 1),
    ],
)
def test_mail_to_a_list_gets_its_fields(recipients, fields, counted):
    """Alone or beside others; of two lists nobody knows which."""
    result = played(recipients)
    assert fields_of(result) == fields
    assert result.counts == (Count("lists"),) * counted
    assert bool(result.notes) is (counted == 1 and not fields)


FORGED = """\
From: ann@example.com
Subject: hi
List-Id: old <old.example>
List-Unsubscribe: <https://evil.example/>
list-id: again
List-Unsubscribe-Post: List-Unsubscribe=One-Click

hello
"""


def test_fields_of_strangers_go():
    """Also if the mail is for two lists; a mail to nobody's list keeps them."""
    assert fields_of(played(["talk@example.org"], FORGED)) == TALK
    two = played(["talk@example.org", "news@example.org"], FORGED)
    assert fields_of(two) == []
    assert two.notes == (Note("more than one list", (("lists", 2),)),)
    assert len(fields_of(played(["bob@example.org"], FORGED))) == 4


def test_a_text_that_is_not_ascii_is_encoded():
    """So that each mail program can show it."""
    result = played(["news@example.org"])
    assert result.message.get("List-Id").isascii()
    assert result.message.decoded("List-Id") == "Büro für alle <news.example.org>"


def test_a_list_without_a_text_has_a_name():
    """Its row holds only the address; no space stands where the text would be."""
    assert played(["talk@example.org"], rows="").message.get("List-Id") == "<talk.example.org>"


@pytest.mark.parametrize("outcome", [Failed("no file"), Late(), None])
def test_a_table_that_does_not_answer_names_no_list(outcome):
    """The mail goes on as it came."""
    result = played(["talk@example.org"], rows=outcome)
    assert (result.is_delivered, fields_of(result), result.actions) == (True, [], ())


def test_a_list_that_was_refused_is_none():
    """By a filter behind it; the others get the mail without fields."""
    strict = define_event_handlers(name="strict")

    @strict.recipient
    def no_lists(event, ctx):
        return reject(ctx, "5.7.1", "No") if event.address.startswith("talk") else ctx

    result = played(["talk@example.org", "bob@example.org"], handlers=merged(make(**SETTINGS), strict))
    assert (result.recipients, fields_of(result)) == (["bob@example.org"], [])


def test_a_large_mail_is_a_mail_to_a_list():
    """Its body is not kept, and stays as it is."""
    result = played(["talk@example.org"], PLAIN + "x" * 70_000 + "\n")
    assert fields_of(result) == TALK
    assert len(result.message.body) == 70_009


def test_it_can_be_tried():
    """What it would have added is there."""
    result = played(["talk@example.org"], enforce=False)
    assert (fields_of(result), len(result.withheld)) == ([], 3)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"List Id": "x"}, "expected name"),
        ({"List-Id": "a\nb"}, "expected value"),
        ({"List-Id": "{nobody}"}, "nobody"),
    ],
)
def test_a_mistake_in_a_field_ends_loading(fields, why):
    """Not the first mail to a list."""
    with pytest.raises((SettingsError, HandlerError), match=why):
        played(["talk@example.org"], fields=fields)


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_over_a_socket(driver, tmp_path):
    """With the table as a file."""
    (tmp_path / "lists").write_text("# all lists\ntalk@example.org  Talk\n", encoding="utf-8")
    settings = {**SETTINGS, "lists": f"texthash:{tmp_path}/lists"}
    with serving(make, settings=settings, driver=driver, mta=Postfix()) as server:
        result = server.run(MAIL.rcpt("Talk@example.org").rcpt("bob@example.org").message(FORGED))
    assert fields_of(result) == TALK


def test_what_holds_for_every_filter(tmp_path):
    """With the settings of its page; some are lists."""
    handlers = filter_of_page("list_header", tmp_path)
    check(handlers, {Lookup: lambda one: "Büro" if len(one.key) % 2 else None})
