"""Random edits of a message as a value, and bodies: each edit is a method with its arguments."""

from typing import Any

from hypothesis import strategies as st

from tests.message.drafts import NAMES, RECIPIENTS, TEXTS
from tests.message.torture import mail

VALUES = TEXTS.map(lambda text: text[1:] or "x").filter(lambda text: text[0] != "\n")
ADDRESSES = st.sampled_from([*RECIPIENTS, "n@test", "m@test"])
CONTENTS = st.sampled_from([b"", b"x", b"two\r\n", b"a\nb\r\n", "größer\n"])


def call(method, *parts):
    """An edit: a function from a message to a message."""
    return st.tuples(*parts).map(lambda values: Call(method, values))


def on_a_part(method, *parts):
    """An edit of one part of the message, whichever the number stands for."""
    return st.builds(OnPart, st.just(method), st.integers(0, 20), st.tuples(*parts))


class Call:
    """A method with its arguments."""

    def __init__(self, method: str, values: tuple[Any, ...]) -> None:
        self.method, self.values = method, values

    def __call__(self, message: Any) -> Any:
        return getattr(message, self.method)(*self.values)

    def __repr__(self) -> str:
        return f"{self.method}{self.values}"


class OnPart:
    """A method that takes a part: that of this number, or what is left of it when counted round."""

    def __init__(self, method: str, number: int, values: tuple[Any, ...]) -> None:
        self.method, self.number, self.values = method, number, values

    def __call__(self, message: Any) -> Any:
        found = message.parts()
        options = {"type": "text/plain"} if self.values else {}
        part = found[self.number % len(found)]
        return getattr(message, self.method)(part, *self.values, **options)

    def __repr__(self) -> str:
        return f"{self.method}(part {self.number}, {self.values})"


EDITS = st.one_of(
    call("set", NAMES, VALUES),
    call("set_only", NAMES, VALUES),
    call("add", NAMES, VALUES),
    call("prepend", NAMES, VALUES),
    call("without", st.sampled_from(["X-*", "x-a", "Subject", "Rec*", "X-B"])),
    call("first_only", NAMES),
    call("set_decoded", NAMES, st.sampled_from(["größer", "é " * 90, "a", "é <e@é.example>"])),
    call("add_recipient", ADDRESSES, st.sampled_from([None, "NOTIFY=NEVER"])),
    call("drop_recipient", ADDRESSES),
    call("with_sender", st.sampled_from(["x@test", "", "a@test"])),
    call("with_body", CONTENTS.filter(lambda one: isinstance(one, bytes))),
    call("append_text", st.sampled_from(["more", "größer\n"])),
    call("attach", CONTENTS, st.sampled_from(["text/plain", "a/b"]), st.sampled_from([None, "é.txt"])),
    on_a_part("replace_part", CONTENTS),
    on_a_part("drop_part"),
)
BODIES = st.one_of(st.sampled_from([b"", b"as sent\r\n"]), st.integers(0, 300).map(mail))


def data_of(lines: list[str], body: bytes) -> bytes:
    """A message as a client sends it; a body that is a whole mail gets these lines at its top."""
    head = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    if body.startswith(b"From: "):
        return head.replace(b"\n", b"\r\n") + body
    return head.replace(b"\n", b"\r\n") + b"\r\n" + body
