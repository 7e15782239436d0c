"""A filter on a real socket, and sessions played at it: the same results by another way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from attrs import frozen

from demyjpy.drivers.option_types import RunningOptions
from demyjpy.drivers.start import running
from demyjpy.mta.channel import Channel
from demyjpy.mta.profiles import Profile
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing.result import Played, Result
from demyjpy.testing.run import agreed, messages_of, play_steps, profiles_of
from demyjpy.testing.script import Script


@frozen
class Server:
    """A filter that listens: at ``address``, for `run` and for any other MTA."""

    address: str
    mta: Profile | None = None

    def run(self, script: Script, *, mta: Profile | None = None) -> Result:
        """Play a session over the socket, as `demyjpy.testing.run` does in memory.

        Contexts and the engine's steps stay in the server: the result has none.
        """
        return agreed([self._play(script, one) for one in profiles_of(mta or self.mta)], script)

    def _play(self, script: Script, profile: Profile) -> Result:
        with Channel(self.address) as channel:
            steps = play_steps(script, new_session(profile), [channel])
            played = tuple(Played(outcome) for _, outcome in steps)
        return Result(profile, played, messages_of(played))


@contextmanager
def serving(
    handlers: Any, *, mta: Profile | None = None, **options: Unpack[RunningOptions]
) -> Iterator[Server]:
    """The filter on a free port of 127.0.0.1 while the block runs.

    ``options`` are those of `demyjpy.running`: ``driver``, ``on_error``, ``limits`` ... ``mta``: whom
    sessions are played as, None for both.
    """
    with running(handlers, **options) as address:
        yield Server(address, mta)
