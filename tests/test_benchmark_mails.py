"""The benchmark of large mails: what a filter does to them is checked, and their memory is a row."""

from typing import Any

import pytest

from benchmarks import message_memory
from demyjpy import Context, define_event_handlers, replace_body, running
from demyjpy.message import Message


@pytest.mark.parametrize("name", message_memory.FILTERS)
def test_a_large_mail_has_its_size_and_a_text(name: str) -> None:
    """It is one that each filter can work on; what has to come back is another body, or none."""
    mail = message_memory.make_mail(name, 100_000)
    assert 100_000 <= len(mail.body) < 102_000
    text, attachment = Message.of(mail.fields, mail.body).parts()[1:]
    assert (text.type, attachment.file_name) == ("text/plain", "a.pdf")
    assert (mail.wanted is None) == (name == "headers")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (None, ""),
        (b"text\r\n", "got a body of 6 bytes"),
        (b"", "got a body of 0 bytes"),
    ],
)
def test_a_body_that_comes_back_is_looked_at(body: bytes | None, complaint: str) -> None:
    """One that nobody asked for is an error, and so is another one than that which is due."""
    handlers = define_event_handlers(actions={"change_body"})

    @handlers.end_of_message
    def answer(event: Any, ctx: Context) -> Context:
        return ctx if body is None else replace_body(ctx, body)

    unchanged, changed = (message_memory.make_mail(name, 200_000) for name in ("headers", "body"))
    with running(handlers) as address:
        session = message_memory.Session(address)
        if complaint:
            with pytest.raises(RuntimeError, match=f"expected no body .* {complaint}"):
                session.send(unchanged)
            with pytest.raises(RuntimeError, match=f"expected another body .* {complaint}"):
                session.send(changed)
        else:
            session.send(unchanged)
            with pytest.raises(RuntimeError, match=r"expected another body .* got none"):
                session.send(changed)
        session.close()
        assert session.longest > 0


def test_the_memory_of_large_mails_is_a_row() -> None:
    """MiB as they are, waits in milliseconds, and the seconds of each mail."""
    found = message_memory.Figures(32.0, 40.26, 0.0003, 0.1, (0.3, 1.25))
    row = message_memory.row("threads", "body", found)
    assert row == "| body | threads | 32.0 | 40.3 | +8.3 | 0.3 | 100.0 | 0.3, 1.2 |"
