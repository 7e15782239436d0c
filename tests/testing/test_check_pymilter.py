"""`check_filter` sees through a pymilter filter: what its instance lets leak is found."""

import pytest

from demyjpy import pymilter as Milter  # noqa: N812  # as a script says it
from demyjpy.testing import Postfix
from demyjpy.testing.strategies import check_filter
from demyjpy.testing.strategies.properties import PROPERTIES

LEAKS = {"mta": Postfix(), "max_examples": 1, "skip": set(PROPERTIES) - {"leaks", "errors"}}


class Naming(Milter.Base):
    """It begins anew with each message."""

    def connect(self, host, family, address):
        self.host = host
        return Milter.CONTINUE

    def envfrom(self, sender, *parameters):
        self.subject = ""
        return Milter.CONTINUE

    def header(self, name, value):
        if name.lower() == "subject":
            self.subject = self.subject or value
        return Milter.CONTINUE

    def eom(self):
        self.addheader("X-Said", f"{self.subject!a} to {self.host}")
        return Milter.CONTINUE


class Leaking(Naming):
    """It begins anew with each connection only."""

    subject = ""

    def envfrom(self, sender, *parameters):
        return Milter.CONTINUE


def test_an_instance_that_keeps_something_of_a_message_is_found():
    """The second message on a connection has the Subject of the first."""
    with pytest.raises(AssertionError) as caught:
        check_filter(Milter.filter_of(Leaking), **LEAKS)
    assert "nothing leaks between messages; got: message 2 has another result" in str(caught.value)


def test_what_an_instance_keeps_of_its_connection_is_no_leak():
    """A message alone has an instance of its own, which was told of the client."""
    check_filter(Milter.filter_of(Naming), **LEAKS)
