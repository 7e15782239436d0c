"""A filter with python-libmilter: adds a header, refuses a recipient, replaces a body."""

import sys

import libmilter

WANTED = libmilter.SMFIF_ADDHDRS | libmilter.SMFIF_CHGHDRS | libmilter.SMFIF_CHGBODY


class Filter(libmilter.ThreadMixin, libmilter.MilterProtocol):
    """One session."""

    def __init__(self, opts=0, protos=0):
        libmilter.ThreadMixin.__init__(self)
        libmilter.MilterProtocol.__init__(self, opts, protos)
        self.size = 0

    def rcpt(self, recip, cmd_dict=None):
        """Refuse one recipient."""
        if b"c@test" in recip:
            self.setReply(b"550", b"5.1.1", b"not here")
            return libmilter.REJECT
        return libmilter.CONTINUE

    def body(self, chunk, cmd_dict=None):
        """Count."""
        self.size += len(chunk)
        return libmilter.CONTINUE

    def eob(self, cmd_dict=None):
        """Say how many."""
        self.addHeader(b"X-Size", b"%d" % self.size)
        self.chgHeader(b"Subject", b"counted")
        if self.size < 100:
            self.replBody(b"a short body\r\n")
        self.size = 0
        return libmilter.CONTINUE


libmilter.ThreadFactory(f"inet:127.0.0.1:{sys.argv[1]}", Filter, WANTED).run()
