"""A few mails of `tests.samples.signed_mails`: the sample says of signatures what others say."""

from tests.integration.foreign import need_milters
from tests.samples.signed_mails import dkimpy_kinds, opendkim_kinds, played, signed_by_us

pytestmark = need_milters()

SOME = [
    *("simple/relaxed, other spaces", "relaxed/simple, other body", "l=, text appended"),
    *("x= is past", "one more Subject, signed once more", "the key is not for subdomains, i= of one"),
    *("z=, Date folded", "z=, as it was", "z=, other Date"),
]


def test_the_sample_says_what_the_others_say() -> None:
    """Mails of OpenDKIM and of dkimpy, good and broken ones."""
    kinds = {kind.name: kind for kind in (*dkimpy_kinds(), *opendkim_kinds())}
    told = played([kinds[name] for name in SOME])
    assert [one.sample for one in told] == [
        "pass",
        "fail",
        "pass",
        "permerror",
        "fail",
        "permerror",
        "pass",
        "pass",
        "fail",
    ]
    assert [name for name, one in zip(SOME, told, strict=True) if not one.agree] == [SOME[5]]


def test_others_find_its_signatures_good() -> None:
    """Both of them."""
    assert signed_by_us(2) == {("pass", "pass"): 2}
