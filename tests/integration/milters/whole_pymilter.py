"""A filter that uses all of pymilter: ``python whole_pymilter.py ADDRESS LOG``.

What it does with a message stands in its X-Ask fields. LOG gets a line for each callback.
"""

# no test: it is run by a Python that has pymilter, and by `demyjpy run --pymilter`
import sys
from pathlib import Path

import Milter
from Milter.utils import iniplist, parse_addr, parseaddr

EDITS = {
    "addheader": lambda self: self.addheader("X-Added", " at the end"),
    "folded": lambda self: self.addheader("X-Folded", " one\n\ttwo"),
    "insert": lambda self: self.addheader("X-Top", " on top", 0),
    "change": lambda self: self.chgheader("Subject", 1, " changed"),
    "first": lambda self: self.chgheader("X-Three", 0, " the first"),
    "delete": lambda self: self.chgheader("X-Three", 2, ""),
    "none": lambda self: self.chgheader("X-Three", 3, None),
    "addrcpt": lambda self: self.addrcpt("<c@test>"),
    "notify": lambda self: self.addrcpt("<d@test>", "NOTIFY=NEVER"),
    "delrcpt": lambda self: self.delrcpt("<b@test>"),
    "chgfrom": lambda self: self.chgfrom("<new@test>"),
    "text": lambda self: self.replacebody("a new body\r\n"),
    "bytes": lambda self: self.replacebody(b"and more\r\n"),
    "quarantine": lambda self: self.quarantine("looks odd"),
    "progress": lambda self: self.progress(),
    "late": lambda self: 1 / 0,
}


@Milter.rejected_recipients
@Milter.header_leading_space
class Whole(Milter.Base):
    """Each callback is logged."""

    def __init__(self):
        self.asked = []

    def log(self, *said):
        with Path(sys.argv[2]).open("a", errors="surrogateescape") as log:
            print(*map(repr, said), file=log)

    def tried(self, edit):
        """What comes of an edit outside of eom."""
        try:
            edit(self)
        except Milter.error as problem:
            return type(problem).__name__
        return "no error"

    @Milter.noreply
    def connect(self, hostname, family, hostaddr):
        self.log("connect", hostname, family, hostaddr[0], iniplist(hostaddr[0], ["127.0.0.0/8"]))
        return Milter.CONTINUE

    def hello(self, hostname):
        self.log("hello", hostname)
        if hostname == "bad.test":
            self.setreply("550", "5.7.1", "no %% of", "two lines")
            return Milter.REJECT
        return Milter.CONTINUE

    def envfrom(self, sender, *parameters):
        self.asked = []
        local = parse_addr(sender)[0]
        self.log("envfrom", sender, sorted(parameters), Milter.dictfromlist(parameters).get("BODY"))
        if local == "keep":
            self.setreply("554", "5.7.2", "kept since MAIL")
        return {"accept": Milter.ACCEPT, "tempfail": Milter.TEMPFAIL}.get(local, Milter.CONTINUE)

    def envrcpt(self, recipient, *parameters):
        self.log("envrcpt", recipient, sorted(parameters), self.getsymval("{rcpt_mailer}") == "error")
        if recipient.startswith("<no@"):
            self.setreply("451", "4.7.1", "later")
            return Milter.TEMPFAIL
        return Milter.REJECT if recipient.startswith("<never@") else Milter.CONTINUE

    def data(self):
        self.log("data", bool(self.getsymval("i")), self.getsymval("rcpt_mailer"))
        return Milter.CONTINUE

    @Milter.decode("bytes")
    def header(self, name, value):
        self.log("header", name, value)
        if name == "X-Ask":
            self.asked += value.decode().split()
        if "mismatch" in self.asked:
            self.setreply("450", "4.7.1", "not for a rejection")
            return Milter.REJECT
        return Milter.DISCARD if "discard" in self.asked else Milter.CONTINUE

    @Milter.noreply
    def eoh(self):
        self.log("eoh", [self.tried(EDITS[one]) for one in ("addheader", "chgfrom", "text")])
        return Milter.CONTINUE

    def body(self, chunk):
        self.log("body", chunk)
        if "raise" in self.asked:
            raise ValueError("asked for")
        return Milter.SKIP if "skip" in self.asked else Milter.CONTINUE

    def eom(self):
        self.log("eom", bool(self.getsymval("i")), bool(self.getsymval("{nothing}")))
        for one in self.asked:
            if one in EDITS:
                EDITS[one](self)
        return Milter.REJECT if "reject" in self.asked else Milter.CONTINUE

    def unknown(self, command):
        self.log("unknown", command.split()[0])
        return Milter.CONTINUE

    def abort(self):
        self.log("abort", parseaddr("A, B <a@test>"))
        return Milter.CONTINUE

    def close(self):
        self.log("close")
        return Milter.CONTINUE


if __name__ == "__main__":
    Milter.factory = Whole
    Milter.set_flags(Milter.CURR_ACTS)
    Milter.set_exception_policy(Milter.TEMPFAIL)
    Milter.runmilter("whole", sys.argv[1], 600)
