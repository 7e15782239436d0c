"""Two filters over python-libmilter: plm_peer.py thread|fork|async noop|bytecount PORT|/PATH."""

import sys

import libmilter as lm


class Noop(lm.MilterProtocol):
    """Every event has a callback, which lets the mail go on."""

    def connect(self, host, family, address, port, macros):
        return lm.CONTINUE

    def helo(self, name):
        return lm.CONTINUE

    def mailFrom(self, address, macros):  # noqa: N802  # the name that python-libmilter looks for
        return lm.CONTINUE

    def rcpt(self, address, macros):
        return lm.CONTINUE

    def data(self, macros):
        return lm.CONTINUE

    def header(self, name, value, macros):
        return lm.CONTINUE

    def eoh(self, macros):
        return lm.CONTINUE

    def body(self, chunk, macros):
        return lm.CONTINUE

    def eob(self, macros):
        return lm.CONTINUE


class ByteCount(lm.MilterProtocol):
    """Adds X-Message-Size."""

    size = 0

    def mailFrom(self, address, macros):  # noqa: N802  # the name that python-libmilter looks for
        self.size = 0
        return lm.CONTINUE

    def body(self, chunk, macros):
        self.size += len(chunk)
        return lm.CONTINUE

    def eob(self, macros):
        self.addHeader(b"X-Message-Size", str(self.size).encode())
        return lm.ACCEPT


model, job, where = sys.argv[1:]
filter_class = Noop if job == "noop" else ByteCount


class Threaded(lm.ThreadMixin, filter_class):
    """A connection in a thread."""

    def __init__(self, actions=0, steps=0):
        lm.ThreadMixin.__init__(self)
        lm.MilterProtocol.__init__(self, actions, steps)


class Forked(lm.ForkMixin, filter_class):
    """A connection in a process."""

    def __init__(self, actions=0, steps=0):
        lm.MilterProtocol.__init__(self, actions, steps)


factory, protocol = {
    "thread": (lm.ThreadFactory, Threaded),
    "fork": (lm.ForkFactory, Forked),
    "async": (lm.AsyncFactory, filter_class),
}[model]
address = where if where[0] == "/" else f"inet:127.0.0.1:{where}"
actions = 0 if job == "noop" else lm.SMFIF_ADDHDRS
factory(address, protocol, actions, listenq=4096).run()
