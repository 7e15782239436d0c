"""Comments in header fields: ``(text (and more))`` (RFC 5322, section 3.2.2)."""

import re
from collections.abc import Iterator
from typing import Final

_PARENTHESIS: Final = re.compile(r"(?>[^()\\]+|\\.?)*+[()]?", re.DOTALL)
_OUTSIDE: Final = re.compile(r'"(?>[^"\\]+|\\.?)*+"?|\(|[^"(]+', re.DOTALL)


def end_of_comment(value: str, at: int) -> int:
    """Where a comment ends that begins before this place; comments may be in comments."""
    depth = 1
    while depth and at < len(value):
        at = next(_PARENTHESIS.finditer(value, at)).end()
        depth += 1 if value[at - 1] == "(" else -1
    return at


def without_comments(value: str) -> str:
    """A text with a space in place of each comment."""
    return "".join(_outside(value))


def _outside(value: str) -> Iterator[str]:
    at = 0
    while at < len(value):
        sign = next(_OUTSIDE.finditer(value, at))[0]
        at += len(sign)
        if sign == "(":
            at = end_of_comment(value, at)
            yield " "
        else:
            yield sign
