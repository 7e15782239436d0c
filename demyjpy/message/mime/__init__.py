"""What a body is made of: its parts, what is in them, and other contents in place of these."""

from demyjpy.message.mime.append import append_text, has_text
from demyjpy.message.mime.archives import FileNames, file_names
from demyjpy.message.mime.edit import Entity, attach, drop_part, replace_part
from demyjpy.message.mime.part import Part
from demyjpy.message.mime.protection import Protection, kinds_of_protection, protection_of
from demyjpy.message.mime.scan import DEPTH, MOST, UNPACKED, scan

__all__ = [
    "DEPTH",
    "MOST",
    "UNPACKED",
    "Entity",
    "FileNames",
    "Part",
    "Protection",
    "append_text",
    "attach",
    "drop_part",
    "file_names",
    "has_text",
    "kinds_of_protection",
    "protection_of",
    "replace_part",
    "scan",
]
