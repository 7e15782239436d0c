"""The protocol's numbers: command letters, response letters, flag bits, sizes.

Names are libmilter's (``mfdef.h``, ``mfapi.h``) without their prefixes. No code but tables.
"""

from enum import IntEnum, IntFlag
from typing import Final

MAX_VERSION: Final = 6
"""The highest protocol version spoken here (Sendmail 8.14, Postfix 2.6)."""

MIN_VERSION: Final = 2
"""The lowest that libmilter, Sendmail or Postfix accept."""

CHUNK_SIZE: Final = 65535
"""``MILTER_CHUNK_SIZE``: the largest payload, in bytes, that may be sent without MDS."""


class Command(IntEnum):
    """``SMFIC_*``: what the MTA says, by the letter that opens the packet."""

    OPTNEG = ord("O")
    MACRO = ord("D")
    CONNECT = ord("C")
    HELO = ord("H")
    MAIL = ord("M")
    RCPT = ord("R")
    DATA = ord("T")
    HEADER = ord("L")
    EOH = ord("N")
    BODY = ord("B")
    BODYEOB = ord("E")
    UNKNOWN = ord("U")
    ABORT = ord("A")
    QUIT = ord("Q")
    QUIT_NC = ord("K")


class Response(IntEnum):
    """``SMFIR_*``: what the filter says. ``SHUTDOWN`` and ``CONN_FAIL`` are never sent by us."""

    OPTNEG = ord("O")
    CONTINUE = ord("c")
    ACCEPT = ord("a")
    REJECT = ord("r")
    TEMPFAIL = ord("t")
    DISCARD = ord("d")
    REPLYCODE = ord("y")
    SKIP = ord("s")
    PROGRESS = ord("p")
    ADDHEADER = ord("h")
    INSHEADER = ord("i")
    CHGHEADER = ord("m")
    REPLBODY = ord("b")
    ADDRCPT = ord("+")
    ADDRCPT_PAR = ord("2")
    DELRCPT = ord("-")
    CHGFROM = ord("e")
    QUARANTINE = ord("q")
    SHUTDOWN = ord("4")
    CONN_FAIL = ord("f")


class ActionFlag(IntFlag):
    """``SMFIF_*``: what the filter may do, second word of the negotiation."""

    ADDHDRS = 0x001
    CHGBODY = 0x002
    ADDRCPT = 0x004
    DELRCPT = 0x008
    CHGHDRS = 0x010
    QUARANTINE = 0x020
    CHGFROM = 0x040
    ADDRCPT_PAR = 0x080
    SETSYMLIST = 0x100


class ProtocolFlag(IntFlag):
    """``SMFIP_*``: third word. ``NO*`` and ``NR_*`` switch things off, the others on."""

    NONE = 0
    NOCONNECT = 0x00000001
    NOHELO = 0x00000002
    NOMAIL = 0x00000004
    NORCPT = 0x00000008
    NOBODY = 0x00000010
    NOHDRS = 0x00000020
    NOEOH = 0x00000040
    NR_HDR = 0x00000080
    NOUNKNOWN = 0x00000100
    NODATA = 0x00000200
    SKIP = 0x00000400
    RCPT_REJ = 0x00000800
    NR_CONN = 0x00001000
    NR_HELO = 0x00002000
    NR_MAIL = 0x00004000
    NR_RCPT = 0x00008000
    NR_DATA = 0x00010000
    NR_UNKN = 0x00020000
    NR_EOH = 0x00040000
    NR_BODY = 0x00080000
    HDR_LEADSPC = 0x00100000
    MDS_256K = 0x10000000
    MDS_1M = 0x20000000


class Stage(IntEnum):
    """``SMFIM_*``: macro lists in the negotiation reply. 5 and 6 are not in protocol order."""

    CONNECT = 0
    HELO = 1
    ENVFROM = 2
    ENVRCPT = 3
    DATA = 4
    EOM = 5
    EOH = 6


V1_ACTIONS: Final = ActionFlag(0x0F)
"""What an offer of no actions at all means (libmilter)."""

V1_PROTOCOL: Final = ProtocolFlag(0x3F)
"""What an offer of no protocol bits at all means (libmilter)."""

DATA_SIZES: Final = {
    ProtocolFlag.MDS_1M: 1_048_575,
    ProtocolFlag.MDS_256K: 262_143,
}
"""The payload, in bytes, that each MDS bit allows."""

MACROS_PER_STAGE: Final = 50
"""Sendmail cuts a longer list (``MAXFILTERMACROS``)."""
