"""A policy for Python's `email` package that reads every header field of every mail.

Its parsers of structured fields raise for some texts that nobody should send but somebody does. A field
that they cannot read is a plain text here. And the time that they take grows with the square of the
length, so fields that the parser of messages itself reads are cut.
"""

from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from typing import Any, Final

from attrs import frozen

_LONGEST: Final = 4_096
"""Characters of a field that says what a content is."""
_PLAIN: Final = HeaderRegistry(use_default_map=False)


@frozen
class _Tolerant:
    """Makes header values, as `email.headerregistry.HeaderRegistry` does."""

    registry: Any = HeaderRegistry()

    def __call__(self, name: str, value: str) -> BaseHeader:
        if len(value) > _LONGEST and name.lower().startswith("content-"):
            value = value[:_LONGEST]
        try:
            made: BaseHeader = self.registry(name, value)
        except Exception:  # noqa: BLE001 (a mail must not choose that a filter fails)
            made = _PLAIN(name, value)
        return made


TOLERANT: "Final[EmailPolicy[EmailMessage]]" = SMTP.clone(header_factory=_Tolerant())
