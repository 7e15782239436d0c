"""The numbers that pymilter's filters use, under pymilter's names, and the protocol bits of callbacks.

The values are those of libmilter's mfapi.h and mfdef.h, which pymilter shows unchanged. No behaviour is
here.
"""

from typing import Final

from demyjpy.wire.codes import ActionFlag, ProtocolFlag, Stage

__all__ = [
    "ACCEPT",
    "ADDHDRS",
    "ADDRCPT",
    "ADDRCPT_PAR",
    "ALL_OPTS",
    "CHGBODY",
    "CHGFROM",
    "CHGHDRS",
    "CONTINUE",
    "CURR_ACTS",
    "DELRCPT",
    "DISCARD",
    "FAILURE",
    "MACRO_CALLBACKS",
    "MODBODY",
    "M_CONNECT",
    "M_DATA",
    "M_ENVFROM",
    "M_ENVRCPT",
    "M_EOH",
    "M_EOM",
    "M_HELO",
    "NOREPLY",
    "OPTIONAL_CALLBACKS",
    "P_HDR_LEADSPC",
    "P_NOBODY",
    "P_NOCONNECT",
    "P_NODATA",
    "P_NOEOH",
    "P_NOHDRS",
    "P_NOHELO",
    "P_NOMAIL",
    "P_NORCPT",
    "P_NOUNKNOWN",
    "P_NR_BODY",
    "P_NR_CONN",
    "P_NR_DATA",
    "P_NR_EOH",
    "P_NR_HDR",
    "P_NR_HELO",
    "P_NR_MAIL",
    "P_NR_RCPT",
    "P_NR_UNKN",
    "P_RCPT_REJ",
    "P_SKIP",
    "QUARANTINE",
    "REJECT",
    "SETSYMLIST",
    "SKIP",
    "SUCCESS",
    "TEMPFAIL",
    "V1_ACTS",
    "V2_ACTS",
    "VERSION",
]

# -------------------------------------------------------------------- what a callback may return
CONTINUE: Final = 0
REJECT: Final = 1
DISCARD: Final = 2
ACCEPT: Final = 3
TEMPFAIL: Final = 4
NOREPLY: Final = 7
SKIP: Final = 8
ALL_OPTS: Final = 10
"""Only of ``negotiate``: all that the MTA offers."""

SUCCESS: Final = 0
FAILURE: Final = -1

VERSION: Final = 0x1000001
"""The version of libmilter's API that these names belong to."""

# ------------------------------------------------------------------------------- set_flags(...)
ADDHDRS: Final = int(ActionFlag.ADDHDRS)
CHGBODY: Final = int(ActionFlag.CHGBODY)
MODBODY: Final = CHGBODY
ADDRCPT: Final = int(ActionFlag.ADDRCPT)
DELRCPT: Final = int(ActionFlag.DELRCPT)
CHGHDRS: Final = int(ActionFlag.CHGHDRS)
QUARANTINE: Final = int(ActionFlag.QUARANTINE)
CHGFROM: Final = int(ActionFlag.CHGFROM)
ADDRCPT_PAR: Final = int(ActionFlag.ADDRCPT_PAR)
SETSYMLIST: Final = int(ActionFlag.SETSYMLIST)
V1_ACTS: Final = 0x0F
V2_ACTS: Final = 0x3F
CURR_ACTS: Final = 0x1FF

# ------------------------------------------------------------------------------ protocol options
P_NOCONNECT: Final = int(ProtocolFlag.NOCONNECT)
P_NOHELO: Final = int(ProtocolFlag.NOHELO)
P_NOMAIL: Final = int(ProtocolFlag.NOMAIL)
P_NORCPT: Final = int(ProtocolFlag.NORCPT)
P_NOBODY: Final = int(ProtocolFlag.NOBODY)
P_NOHDRS: Final = int(ProtocolFlag.NOHDRS)
P_NOEOH: Final = int(ProtocolFlag.NOEOH)
P_NOUNKNOWN: Final = int(ProtocolFlag.NOUNKNOWN)
P_NODATA: Final = int(ProtocolFlag.NODATA)
P_SKIP: Final = int(ProtocolFlag.SKIP)
P_RCPT_REJ: Final = int(ProtocolFlag.RCPT_REJ)
P_HDR_LEADSPC: Final = int(ProtocolFlag.HDR_LEADSPC)
P_NR_CONN: Final = int(ProtocolFlag.NR_CONN)
P_NR_HELO: Final = int(ProtocolFlag.NR_HELO)
P_NR_MAIL: Final = int(ProtocolFlag.NR_MAIL)
P_NR_RCPT: Final = int(ProtocolFlag.NR_RCPT)
P_NR_DATA: Final = int(ProtocolFlag.NR_DATA)
P_NR_UNKN: Final = int(ProtocolFlag.NR_UNKN)
P_NR_HDR: Final = int(ProtocolFlag.NR_HDR)
P_NR_EOH: Final = int(ProtocolFlag.NR_EOH)
P_NR_BODY: Final = int(ProtocolFlag.NR_BODY)

# ------------------------------------------------------------- stages, for setsymlist and symlist
M_CONNECT: Final = int(Stage.CONNECT)
M_HELO: Final = int(Stage.HELO)
M_ENVFROM: Final = int(Stage.ENVFROM)
M_ENVRCPT: Final = int(Stage.ENVRCPT)
M_DATA: Final = int(Stage.DATA)
M_EOM: Final = int(Stage.EOM)
M_EOH: Final = int(Stage.EOH)

# --------------------------------------------------------------------------------- by callback
OPTIONAL_CALLBACKS: Final = {
    "connect": (P_NR_CONN, P_NOCONNECT),
    "hello": (P_NR_HELO, P_NOHELO),
    "envfrom": (P_NR_MAIL, P_NOMAIL),
    "envrcpt": (P_NR_RCPT, P_NORCPT),
    "data": (P_NR_DATA, P_NODATA),
    "unknown": (P_NR_UNKN, P_NOUNKNOWN),
    "eoh": (P_NR_EOH, P_NOEOH),
    "body": (P_NR_BODY, P_NOBODY),
    "header": (P_NR_HDR, P_NOHDRS),
}
"""The callbacks that may be left out, or left without a reply: the bits for that."""

MACRO_CALLBACKS: Final = {
    "connect": M_CONNECT,
    "hello": M_HELO,
    "envfrom": M_ENVFROM,
    "envrcpt": M_ENVRCPT,
    "data": M_DATA,
    "eom": M_EOM,
    "eoh": M_EOH,
}
"""The callbacks for which macros can be asked: their stages."""
