"""A class of pymilter's as a registry: what is asked of the MTA, and what others see of it."""

from typing import Any

import pytest

from demyjpy import (
    Continue,
    HandlerError,
    merge_handlers,
)
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import Postfix, check_filter, run
from tests.pymilter.classes import LETTER, ONE, Logging, seen_in


def test_macros_are_asked_for_by_callback() -> None:
    """Which pymilter 1.0.5 means to do, and does not under Python 3."""

    class Asking(Milter.Base):
        @Milter.symlist("i", "{rcpt_mailer}")
        def envrcpt(self, to, *parameters):
            return Milter.CONTINUE

    assert filter_of(Asking).macros == {"recipient": ("i", "{rcpt_mailer}")}


@pytest.mark.parametrize("said", [Milter.CONTINUE, Milter.ALL_OPTS])
def test_a_filter_may_negotiate_itself(said: int) -> None:
    """To do without an event or an action, and to ask for macros."""

    class Negotiating(Logging):
        def negotiate(self, opts):
            super().negotiate(opts)
            opts[0] &= ~Milter.ADDHDRS
            opts[1] |= Milter.P_NOBODY
            if said == Milter.CONTINUE:
                self.setsymlist(Milter.M_ENVFROM, "i", "{auth_authen}")
            return said

        def eom(self):
            try:
                self.addheader("X-A", "b")
            except Milter.DisabledAction as problem:
                self.note("disabled", str(problem))
            return Milter.CONTINUE

    found = [one[0] for one in seen_in(ONE.message(LETTER), Negotiating)]
    is_less = said == Milter.CONTINUE
    assert ("body" in found, "disabled" in found) == (not is_less, is_less)


def test_a_filter_may_negotiate_as_the_base_class_does() -> None:
    """Without another word."""

    class Negotiating(Logging):
        def negotiate(self, opts):
            return super().negotiate(opts)

    assert ("eom",) in seen_in(ONE.message(LETTER), Negotiating)


def test_a_filter_that_negotiates_nothing_that_is_known_has_no_session() -> None:
    """It fails at once."""

    class Negotiating(Milter.Base):
        def negotiate(self, opts):
            return Milter.REJECT

    found = run(filter_of(Negotiating), ONE.message(LETTER), mta=Postfix())
    assert "expected negotiate to return CONTINUE or ALL_OPTS, got 1" in str(found.troubles[0].error)


# ---------------------------------------------------------------------------- seen by all the rest
@pytest.mark.parametrize("factory", [5, object])
def test_what_makes_no_instance_is_refused(factory: Any) -> None:
    """With what was expected."""
    with pytest.raises(HandlerError, match=r"Milter\.factory"):
        filter_of(factory)


def test_the_mta_has_to_grant_what_set_flags_says() -> None:
    """All edits if nothing is said. What is used besides is used if it is granted."""
    found = filter_of(Milter.Milter, flags=Milter.ADDHDRS | Milter.SETSYMLIST)
    assert found.actions == {"add_header"}
    assert filter_of(Milter.Milter).actions == found.actions | found.optional_actions


def test_a_filter_without_eom_asks_for_no_edits() -> None:
    """It has no place for any."""
    found = filter_of(Milter.Base, flags=Milter.ADDHDRS)
    assert not found.actions | found.optional_actions


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"expected policy= as TEMPFAIL.*got 2"):
        filter_of(Milter.Base, policy=Milter.DISCARD)


def test_a_factory_may_be_a_function() -> None:
    """Which is called once to see what it makes."""

    def make() -> Milter.Milter:
        return Milter.Milter()

    assert set(filter_of(make)) == set(filter_of(Milter.Milter))


def test_a_leak_between_messages_is_found() -> None:
    """By the test kit, through the instance."""

    class Leaking(Milter.Base):
        def __init__(self):
            self.fields = 0

        def header(self, name, value):
            self.fields += 1
            return Milter.CONTINUE

        def eom(self):
            self.addheader("X-Fields", str(self.fields))
            return Milter.CONTINUE

    class Sound(Leaking):
        def envfrom(self, sender, *parameters):
            self.fields = 0
            return Milter.CONTINUE

    skip = {"mtas"}  # they do not add a field at the same place
    with pytest.raises(AssertionError, match="leaks between messages"):
        check_filter(filter_of(Leaking), max_examples=1, skip=skip)
    check_filter(filter_of(Sound), max_examples=1, skip=skip, mta=Postfix())


def test_old_and_new_filters_are_merged() -> None:
    """The second gets what the first has made of the message."""

    class First(Milter.Base):
        def envrcpt(self, to, *parameters):
            return Milter.CONTINUE

        def eom(self):
            self.chgheader("Subject", 1, "changed")
            return Milter.CONTINUE

    class Second(First):
        def header(self, name, value):
            self.found = getattr(self, "found", "") + value
            return Milter.CONTINUE

        def eom(self):
            self.addheader("X-Found", self.found)
            return Milter.CONTINUE

    merged = merge_handlers(filter_of(First), filter_of(Second))
    assert run(merged, ONE.message("Subject: hi\n\n")).message.get("X-Found") == "changed"
    assert Continue() not in run(merged, ONE.message(LETTER)).actions
