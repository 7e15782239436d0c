"""The filters of `samples/filters` as one program behind Postfix; a short run of `tests.chaos.nine`."""

import pytest
from attrs import evolve

from tests.chaos.nine import CHAIN, ROOT, run
from tests.chaos.nine_mails import KINDS, problems_of
from tests.integration.smtp import Delivery
from tests.lookups.servers import need

pytestmark = [need("redis"), need("unbound"), need("clamav")]


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_each_kind_of_mail_becomes_what_it_must(driver):
    """And a replay of all, while no server answers, gives the same bytes."""
    found = run(len(KINDS), driver)
    assert found.problems == ()
    assert found.questions > found.replayed > len(KINDS)


def test_all_of_them_are_in_it():
    """One after the other, those that sign and that edit behind those that refuse."""
    assert sorted(CHAIN) == sorted(one.stem for one in (ROOT / "samples/filters").glob("*.py"))


def test_what_is_wrong_is_seen():
    """Another reply, a mail that was not delivered, and one that was changed in another way."""
    (kind,) = (one for one in KINDS if one.name == "from outside")
    content = kind.content("x").replace(b"\r\n\r\n", b"".join((b"\r\n", *kind.has, b"\r\n\r\n")))
    good = Delivery(kind.sender, kind.recipients, content)
    assert [*problems_of(kind, ["250 ok"] * 3, [good])] == []
    for replies, deliveries in (
        (["250", "250", "451"], [good]),
        (["250"] * 4, [good]),
        (["250"] * 3, []),
        (["250"] * 3, [good, good]),
        (["250"] * 3, [evolve(good, content=kind.content("x"))]),
        (["250"] * 3, [evolve(good, content=content + kind.has_not[1])]),
    ):
        assert [*problems_of(kind, replies, deliveries)]
    assert [*problems_of(evolve(kind, is_signed=True), ["250"] * 3, [good])]
