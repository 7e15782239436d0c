"""One question asked at once, outside of a server: for a shadow, and for a replay that asks."""

import asyncio

from demyjpy.drivers.asker import Asker
from demyjpy.engine.open_questions import Asked
from demyjpy.questions import Outcome


def ask_now(asked: Asked) -> Outcome:
    """What comes of a question, within its time; nothing is remembered, and it has no resources.

    Not within an event loop.
    """
    return asyncio.run(_ask(asked))


async def _ask(asked: Asked) -> Outcome:
    loop = asyncio.get_running_loop()
    asker = Asker(lambda: loop)
    try:
        known = asker.known_answer(asked)
        if known is not None:
            return known
        found: asyncio.Future[Outcome] = loop.create_future()
        asker.begin(asked, lambda outcome, seconds: found.set_result(outcome))
        return await found
    finally:
        asker.close()
