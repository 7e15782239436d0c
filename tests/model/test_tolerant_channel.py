"""A channel for a milter that may be away or go away: only a question fails."""

import asyncio

import pytest
from attrs import evolve

from demyjpy.mta.milter_link import MilterFailedError, MilterLink
from demyjpy.mta.profiles import Postfix
from demyjpy.mta.smtp_session import Exchange
from demyjpy.mta.tolerant_channel import TolerantChannel
from tests.cli.servers import answering, frame, listening

LINK = MilterLink(Postfix().offer, Postfix().strictness)
SAID, ASKED = Exchange(0, (b"x",), LINK), Exchange(0, (b"x",), evolve(LINK, event="mail"))


def test_what_needs_no_answer_may_reach_nobody():
    """The next question tells that the milter is gone."""

    async def main(address: str) -> None:
        async with TolerantChannel(address) as channel:
            await channel.close()
            assert await channel.carry_out(SAID) == (LINK, None)
            with pytest.raises(MilterFailedError, match="failed at mail: it closed the connection"):
                await channel.carry_out(ASKED)

    with listening(answering()) as address:
        asyncio.run(main(address))


def test_a_milter_that_is_away_is_told_at_each_question(tmp_path):
    """With the reason for which it could not be reached."""

    async def main() -> None:
        async with TolerantChannel(f"unix:{tmp_path}/none") as channel:
            assert await channel.carry_out(SAID) == (LINK, None)
            for _ in range(2):
                with pytest.raises(MilterFailedError, match=r"failed at connecting: .*No such file"):
                    await channel.carry_out(ASKED)
            channel.abort()  # there is nothing to cut

    asyncio.run(main())


def test_why_a_question_has_no_answer_is_told_as_it_was_found():
    """Its kind decides what the MTA does next."""

    async def main(address: str) -> None:
        async with TolerantChannel(address) as channel:
            with pytest.raises(MilterFailedError) as nonsense:
                await channel.carry_out(ASKED)
            assert nonsense.value.kind == "nonsense"
            with pytest.raises(MilterFailedError, match="it closed the connection"):
                await channel.carry_out(ASKED)

    with listening(lambda client: client.sendall(frame(b"z"))) as address:
        asyncio.run(main(address))
