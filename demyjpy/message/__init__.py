"""A message as values: its header fields, what several filters made of it, and the difference of two.

It knows the actions of a filter, and no packets. `demyjpy.engine.chain_edits` turns a difference into
modifications for the MTA.
"""

from demyjpy.message.addresses import MailAddress, same_address
from demyjpy.message.authentication import (
    AuthenticationResult,
    AuthenticationResults,
    parse_authentication_results,
)
from demyjpy.message.content import Kept
from demyjpy.message.difference import (
    AddAddress,
    ChangeField,
    DropAddress,
    DropField,
    Edit,
    Hold,
    PutField,
    SetBody,
    SetSender,
    difference,
)
from demyjpy.message.draft import Draft, apply_edits, shown_body
from demyjpy.message.fields import Field, Place
from demyjpy.message.mime import FileNames, Part, Protection
from demyjpy.message.value import Message, draft_of

__all__ = [
    "AddAddress",
    "AuthenticationResult",
    "AuthenticationResults",
    "ChangeField",
    "Draft",
    "DropAddress",
    "DropField",
    "Edit",
    "Field",
    "FileNames",
    "Hold",
    "Kept",
    "MailAddress",
    "Message",
    "Part",
    "Place",
    "Protection",
    "PutField",
    "SetBody",
    "SetSender",
    "apply_edits",
    "difference",
    "draft_of",
    "parse_authentication_results",
    "same_address",
    "shown_body",
]
