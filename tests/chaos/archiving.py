"""The filter of `tests.chaos.effects`, as a program: each effect writes a line that says what it did."""

import os
import sys
import time

from attrs import frozen

from demyjpy import Message, define_event_handlers, do, reject, start_milter

handlers = define_event_handlers(name="archiving")


def write(*words):
    """A line in one piece: others write at the same time."""
    notes = os.open(os.environ["DEMYJPY_CHAOS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(notes, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(notes)


@frozen
class Archive:
    """The whole message, which its performer reads."""

    message: Message

    def perform(self, resources):
        """It takes a while, so that some always wait."""
        time.sleep(0.003)
        sender = self.message.sender
        is_whole = self.message.body == f"body of {sender}\r\n".encode() * 100
        write("archived" if is_whole else "damaged", sender, resources["effect_key"])


@frozen
class Refused:
    """No message is in it."""

    sender: str

    async def perform(self, resources):
        """In the loop."""
        write("refused", self.sender, resources["effect_key"])


@handlers.message
def message(event, ctx):
    """Every third is refused, after effects were asked for."""
    ctx = do(do(ctx, Archive(event)), Refused(event.sender), "refused")
    return reject(ctx) if event.sender.startswith("bad") else ctx


if __name__ == "__main__":
    start_milter(
        sys.argv[1],
        handlers,
        effects=sys.argv[2],
        driver=sys.argv[3],
        workers=int(sys.argv[4]),
        on_ready=lambda address: print("ready", flush=True),
        spool=500,
        grace=5.0,
    )
