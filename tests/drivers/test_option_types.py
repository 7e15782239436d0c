"""Type checkers know of options what `ServerOptions` takes; a wrong value is said when it runs."""

from inspect import signature
from typing import Any, get_type_hints

import pytest
from attrs import fields_dict

from demyjpy import define_event_handlers, running, serve, start_milter
from demyjpy.drivers import option_types
from demyjpy.drivers import start_milter as without_observers
from demyjpy.drivers.options import ServerOptions

TYPES: dict[Any, Any] = {
    start_milter: option_types.StartOptions,
    without_observers: option_types.UnwatchedStartOptions,
    serve: option_types.ServeOptions,
    running: option_types.RunningOptions,
}


@pytest.mark.parametrize("function", TYPES)
def test_a_type_checker_knows_each_option(function: Any) -> None:
    """Those in the signature and those behind it are all that there are, and no one twice."""
    own = [*signature(function).parameters]
    assert own.pop() == "options"
    behind = [*get_type_hints(TYPES[function])]
    assert set(own) & set(behind) == set()
    taken = {*fields_dict(ServerOptions)} - ({"loop"} if function is serve else set())
    assert taken <= {*own, *behind}
    assert set(behind) <= taken


@pytest.mark.parametrize(("name", "meant"), [("recrod", "record"), ("fligt", "flight")])
def test_an_option_of_those_who_watch_may_be_misspelled(name: str, meant: str) -> None:
    """They are not options of the driver's start_milter, and are suggested all the same."""
    wrong: Any = {name: "traces"}
    with pytest.raises(TypeError, match=rf"^start_milter: .*got {name}=; did you mean {meant}=\?$"):
        start_milter("inet:0@127.0.0.1", define_event_handlers(), **wrong)


def test_what_is_the_drivers_own_is_no_option() -> None:
    """`demyjpy.start_milter` gives ``on_end`` itself."""
    with pytest.raises(TypeError, match=r"^start_milter: expected one of its options, got on_end="):
        start_milter("inet:0@127.0.0.1", define_event_handlers(), on_end=print)


@pytest.mark.parametrize(
    ("wrong", "kind", "expected"),
    [
        ({"grace": "5"}, TypeError, "expected grace= to be a number of seconds from 0, got '5'"),
        ({"idle_timeout": 0}, ValueError, "idle_timeout= to be a number of seconds above 0, got 0"),
        ({"max_connections": "3"}, TypeError, "max_connections= to be a whole number from 1, got '3'"),
        ({"allow": "nonsense"}, ValueError, "expected allow= to be networks such as "),
        ({"limits": {"recipients": 3}}, TypeError, "expected limits= to be Limits(...), got {'recip"),
        ({"loop": "trio"}, ValueError, "expected loop= to be 'asyncio' or 'uvloop', got 'trio'"),
        ({"when_full": "no"}, ValueError, "expected when_full= to be 'wait' or 'tempfail', got 'no'"),
        ({"effects": 5, "grace": 3}, TypeError, "expected effects= to be a directory, or None, got 5"),
        ({"watchers": 3}, TypeError, "expected watchers= to be a sequence of watchers, got 3"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(
    wrong: Any, kind: type[Exception], expected: str
) -> None:
    """In the words of whoever wrote it: the function, the option, the value."""
    with pytest.raises(kind) as error, running(define_event_handlers(), **wrong):
        raise AssertionError
    assert str(error.value).startswith("running: expected ")
    assert expected in str(error.value)
