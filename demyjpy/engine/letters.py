"""The letters of the commands as plain integers, which are cheaper to compare than an enumeration's."""

from demyjpy.wire.codes import Command

OPTNEG, MACRO = int(Command.OPTNEG), int(Command.MACRO)
CONNECT, HELO, UNKNOWN = int(Command.CONNECT), int(Command.HELO), int(Command.UNKNOWN)
MAIL, RCPT, DATA = int(Command.MAIL), int(Command.RCPT), int(Command.DATA)
HEADER, EOH, BODY, BODYEOB = (
    int(Command.HEADER),
    int(Command.EOH),
    int(Command.BODY),
    int(Command.BODYEOB),
)
ABORT, QUIT, QUIT_NC = int(Command.ABORT), int(Command.QUIT), int(Command.QUIT_NC)

DISCONNECT = 0
"""Stands for the end of a connection, which has no letter."""

MESSAGE = 1
"""Stands for a whole message as a value, which no packet says."""

SPOOL = 2
"""Stands for the writing of a large body to a file."""
