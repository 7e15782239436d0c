"""Two filters over pymilter: pymilter_peer.py noop|bytecount PORT|/PATH."""

import sys

import Milter
import milter


class Noop(Milter.Base):
    """Every event has a callback, which lets the mail go on."""

    def connect(self, name, family, address):
        return Milter.CONTINUE

    def hello(self, name):
        return Milter.CONTINUE

    def envfrom(self, sender, *parameters):
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        return Milter.CONTINUE

    def data(self):
        return Milter.CONTINUE

    def header(self, name, value):
        return Milter.CONTINUE

    def eoh(self):
        return Milter.CONTINUE

    def body(self, chunk):
        return Milter.CONTINUE

    def eom(self):
        return Milter.CONTINUE


class ByteCount(Milter.Base):
    """Adds X-Message-Size."""

    def envfrom(self, sender, *parameters):
        self.size = 0
        return Milter.CONTINUE

    def body(self, chunk):
        self.size += len(chunk)
        return Milter.CONTINUE

    def eom(self):
        self.addheader("X-Message-Size", str(self.size))
        return Milter.ACCEPT


def set_address(address, original=milter.setconn):
    """``runmilter`` leaves the backlog at 20: too few for hundreds of clients at once."""
    original(address)
    milter.setbacklog(4096)


job, where = sys.argv[1:]
Milter.factory = Noop if job == "noop" else ByteCount
Milter.set_flags(0 if job == "noop" else Milter.ADDHDRS)
milter.setconn = set_address
Milter.runmilter(job, f"unix:{where}" if where[0] == "/" else f"inet:{where}@127.0.0.1", 600)
