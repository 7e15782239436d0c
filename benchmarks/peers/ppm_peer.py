"""Two filters over purepythonmilter, which has TCP only: ppm_peer.py noop|bytecount PORT.

Version 0.0.1 warns at every message but the first of a session; it may not log that here.
"""

import logging
import sys
from contextvars import ContextVar

import purepythonmilter as ppm

size = ContextVar("size")
"""The hooks of a connection run in one task, so this is the connection's."""


# It reads the class of a command from the annotation, hence a function for each.
async def on_connect(cmd: ppm.Connect) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_hello(cmd: ppm.Helo) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_mail(cmd: ppm.MailFrom) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_recipient(cmd: ppm.RcptTo) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_data(cmd: ppm.Data) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_header(cmd: ppm.Header) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_end_of_headers(cmd: ppm.EndOfHeaders) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_body(cmd: ppm.BodyChunk) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def on_end(cmd: ppm.EndOfMessage) -> ppm.VerdictOrContinue:
    return ppm.Continue()


async def count_mail(cmd: ppm.MailFrom) -> ppm.VerdictOrContinue:
    size.set(0)
    return ppm.Continue()


async def count_body(cmd: ppm.BodyChunk) -> ppm.VerdictOrContinue:
    size.set(size.get() + len(cmd.data_raw))
    return ppm.Continue()


async def count_end(cmd: ppm.EndOfMessage) -> ppm.VerdictOrContinue:
    header = ppm.AppendHeader(headername="X-Message-Size", headertext=str(size.get()))
    return ppm.Accept(manipulations=[header])


NOOP = {
    "hook_on_connect": on_connect,
    "hook_on_helo": on_hello,
    "hook_on_mail_from": on_mail,
    "hook_on_rcpt_to": on_recipient,
    "hook_on_data": on_data,
    "hook_on_header": on_header,
    "hook_on_end_of_headers": on_end_of_headers,
    "hook_on_body_chunk": on_body,
    "hook_on_end_of_message": on_end,
}
BYTECOUNT = {
    "hook_on_mail_from": count_mail,
    "hook_on_body_chunk": count_body,
    "hook_on_end_of_message": count_end,
    "can_add_headers": True,
}

logging.basicConfig(level=logging.ERROR)
job, port = sys.argv[1:]
app = ppm.PurePythonMilter(name=job, **(NOOP if job == "noop" else BYTECOUNT))
app.run_server(host="127.0.0.1", port=int(port))
