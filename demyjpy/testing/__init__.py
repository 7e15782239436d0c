"""Tests for filters: a session in, an equality out. See `run` and `session`."""

from demyjpy.mta.message import Envelope, Field, Mail, Message
from demyjpy.mta.profiles import Postfix, Reply, Sendmail
from demyjpy.testing.direct import context
from demyjpy.testing.result import MessageResult, Played, Result
from demyjpy.testing.run import run
from demyjpy.testing.script import Script, session

__all__ = [
    "Envelope",
    "Field",
    "Mail",
    "Message",
    "MessageResult",
    "Played",
    "Postfix",
    "Reply",
    "Result",
    "Script",
    "Sendmail",
    "context",
    "run",
    "session",
]
