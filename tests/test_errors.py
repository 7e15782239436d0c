"""The tree of exceptions: what is caught by what, what they say, what they carry."""

import pickle

import pytest

from demyjpy import errors

TREE = [
    (errors.RemoteProtocolError("a", "b"), errors.MilterError),
    (errors.LimitError("a", "b"), errors.RemoteProtocolError),
    (errors.LocalProtocolError("a"), errors.MilterError),
    (errors.LocalProtocolError("a"), ValueError),
    (errors.NegotiationError(["data"], []), errors.MilterError),
    (errors.DeadlineError("filter.check", 3.0, "it was cancelled"), errors.HandlerError),
    (errors.HandlerError("a"), errors.MilterError),
    (errors.SettingsError("a"), errors.HandlerError),
    (errors.AddressError("a"), errors.MilterError),
    (errors.AddressError("a"), ValueError),
    (errors.TraceError("a"), errors.MilterError),
    (errors.TableError("a"), errors.MilterError),
]


@pytest.mark.parametrize(
    ("error", "parent"), TREE, ids=lambda row: getattr(row, "__name__", type(row).__name__)
)
def test_each_error_is_caught_as_its_parent(error, parent):
    """Except MilterError catches all; what is a bad value is a ValueError, too."""
    assert isinstance(error, parent)
    assert isinstance(error, errors.MilterError)


def test_every_class_in_the_module_is_in_the_tree():
    """Nothing is raised that except MilterError would miss."""
    classes = [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and one.__module__ == errors.__name__
    ]
    assert len(classes) == 12
    assert all(issubclass(one, errors.MilterError) for one in classes)


def test_a_remote_error_says_what_was_expected_and_what_came():
    """The message is made of the two attributes."""
    error = errors.RemoteProtocolError("a port", "nothing")
    assert (error.expected, error.got) == ("a port", "nothing")
    assert str(error) == "expected a port, got nothing"


NEGOTIATIONS = [
    (["data", "body"], ["quarantine"], "events body, data; actions quarantine"),
    ([], ["change_sender", "change_body"], ": actions change_body, change_sender."),
    (["unknown"], [], ": events unknown."),
]


@pytest.mark.parametrize(("events", "actions", "wanted"), NEGOTIATIONS)
def test_a_negotiation_error_lists_what_is_missing(events, actions, wanted):
    """Names are sorted, an empty list is not mentioned, and the message says what to do."""
    error = errors.NegotiationError(events, actions)
    assert wanted in str(error)
    assert "optional_events=" in str(error)
    assert error.events == tuple(sorted(events))
    assert error.actions == tuple(sorted(actions))


@pytest.mark.parametrize(
    "error",
    [
        errors.RemoteProtocolError("a", "b"),
        errors.LimitError("c", "d"),
        errors.NegotiationError(["data"], ["quarantine"]),
        errors.DeadlineError("filter.check", 3.0, "it was cancelled"),
        errors.HandlerError("e"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_being_pickled(error):
    """Errors go between processes with all that they carry."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
