"""The filter of c_filter.c once more, over pymilter: ``python pymilter_filter.py ADDRESS``."""

# no test: it is run by a Python that has pymilter, and not this library
import os
import sys

import Milter


class Filter(Milter.Base):
    """What it does with a message stands in its X-Ask field."""

    def envfrom(self, sender, *parameters):
        if "close@" in sender:
            os._exit(3)
        self.ask = ""
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        return Milter.REJECT if recipient.startswith("<bad") else Milter.CONTINUE

    def header(self, name, value):
        if name.lower() == "x-ask":
            self.ask = value
        return Milter.CONTINUE

    def eom(self):
        answers = {"reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL, "discard": Milter.DISCARD}
        if self.ask in answers:
            return answers[self.ask]
        if self.ask == "quarantine":
            self.quarantine("looks odd")
        if self.ask == "reply":
            self.setreply("554", "5.7.1", "100%% no")
            return Milter.REJECT
        if self.ask == "edit":
            self.addheader("X-Added", self.getsymval("i") or "?")
            self.addheader("X-Top", "inserted", 0)
            self.chgheader("Subject", 1, "changed")
            self.chgheader("X-Gone", 1, "")
            self.chgfrom("<new@example.org>")
            self.delrcpt("<bob@example.net>")
            self.addrcpt("<carol@example.net>")
            self.progress()
            self.replacebody(b"a new body\r\n")
        return Milter.CONTINUE


if __name__ == "__main__":
    Milter.factory = Filter
    Milter.set_flags(
        Milter.ADDHDRS
        | Milter.CHGHDRS
        | Milter.CHGBODY
        | Milter.ADDRCPT
        | Milter.DELRCPT
        | Milter.CHGFROM
        | Milter.QUARANTINE
    )
    Milter.runmilter("pymilter_filter", sys.argv[1], 60)
