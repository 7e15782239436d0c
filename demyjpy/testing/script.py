"""``session()``: an SMTP session as a value, built step by step, to be played by `demyjpy.testing.run`.

A builder refuses what no SMTP client could make an MTA say to a milter, unless told ``raw=True``.
"""

from email.message import Message as EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Final, TypeAlias

from attrs import evolve, frozen

from demyjpy.errors import LocalProtocolError
from demyjpy.mta import steps
from demyjpy.mta.steps import Step

Content: TypeAlias = "str | bytes | Path | EmailMessage"

_IN_MAIL: Final = (steps.Mail, steps.Rcpt)


@frozen
class Script:
    """Steps of an SMTP client, in order. Each method gives a new script with one step more."""

    steps: tuple[Step, ...]
    raw: bool = False

    def then(self, *more: Step) -> "Script":
        """With these steps behind."""
        return evolve(self, steps=(*self.steps, *more))

    def ehlo(self, name: str = "client.example", *, verb: str = "EHLO") -> "Script":
        """EHLO (or HELO); a second one resets what was begun."""
        self._expect_text("a name", name)
        return self._then(steps.Ehlo(name, verb))

    def starttls(self, **macros: str) -> "Script":
        """STARTTLS; ``starttls(tls_version="TLSv1.3", cipher="...")`` gives the macros their values."""
        return self._then(steps.StartTls(macros or {"tls_version": "TLSv1.3"}))

    def auth(self, user: str, kind: str = "PLAIN", **macros: str) -> "Script":
        """AUTH as a user: ``{auth_authen}``, ``{auth_type}``."""
        return self._then(steps.Auth({"auth_type": kind, "auth_authen": user, **macros}))

    def mail(self, sender: str, *, raw: str | None = None, **parameters: str | None) -> "Script":
        """MAIL FROM; ``""`` is the null sender. ``mail("a@b", SIZE="100", SMTPUTF8=None)``."""
        self._expect_text("a sender", sender)
        if isinstance(self._transaction(), _IN_MAIL):
            self._refuse("RSET, EHLO or the message before a second MAIL")
        return self._then(steps.Mail(sender, parameters, raw))

    def rcpt(
        self,
        address: str,
        *,
        raw: str | None = None,
        refused: str | None = None,
        **parameters: str | None,
    ) -> "Script":
        """RCPT TO. ``refused="5.1.1 unknown user"``: the MTA refuses this recipient itself."""
        self._expect_text("a recipient", address)
        if not isinstance(self._transaction(), _IN_MAIL):
            self._refuse("MAIL before RCPT")
        return self._then(steps.Rcpt(address, parameters, raw, refused))

    def message(self, content: Content = "Subject: test\n\nHello\n") -> "Script":
        """DATA and a message: bytes, text, the path of an ``.eml`` file, or an `EmailMessage`.

        A string without a line break is a path.
        """
        if not isinstance(self._transaction(), steps.Rcpt):
            self._refuse("RCPT before a message")
        return self._then(steps.Data(read_content(content)))

    def rset(self) -> "Script":
        """RSET."""
        return self._then(steps.Rset())

    def command(self, line: str) -> "Script":
        """A command that the MTA does not know."""
        self._expect_text("a command line", line)
        return self._then(steps.Command(line))

    def quit(self) -> "Script":
        """QUIT; a script that ends without it is ended with it."""
        return self._then(steps.Quit())

    def drop(self) -> "Script":
        """The client goes away without QUIT."""
        return self._then(steps.Drop())

    def _then(self, step: Step) -> "Script":
        if isinstance(self.steps[-1], (steps.Quit, steps.Drop)):
            self._refuse("nothing after the end of the session")
        return self.then(step)

    def _transaction(self) -> Step | None:
        """The last step that says how far the mail transaction has come."""
        passing = (steps.Command, steps.Auth)
        return next((step for step in reversed(self.steps) if not isinstance(step, passing)), None)

    def _expect_text(self, what: str, text: str) -> None:
        if any(sign in text for sign in "\0\r\n"):
            self._refuse(f"{what} without NUL, CR or LF (got {text!r})")

    def _refuse(self, expected: str) -> None:
        if not self.raw:
            raise LocalProtocolError(
                f"expected {expected}: no MTA would say that to a milter; session(raw=True) plays it "
                "all the same"
            )


def session(
    *,
    client: str = "192.0.2.1",
    name: str | None = None,
    port: int = 40000,
    helo: str | None = "client.example",
    raw: bool = False,
) -> Script:
    """The beginning of a session: a client at an address (``""``: on standard input) says EHLO.

    ``name`` is its verified host name, ``helo=None`` leaves EHLO out.
    """
    script = Script((steps.Connect(client, name, port),), raw)
    return script if helo is None else script.ehlo(helo)


def read_content(content: Content) -> bytes:
    """A message as bytes with CRLF line ends."""
    if isinstance(content, EmailMessage):
        return content.as_bytes(policy=SMTP)
    if isinstance(content, Path) or (isinstance(content, str) and "\n" not in content):
        return _crlf(Path(content).read_bytes())
    if isinstance(content, str):
        return _crlf(content.encode("utf-8", "surrogateescape"))
    if isinstance(content, bytes):
        return content
    raise LocalProtocolError(
        f"expected a message as bytes, text, path or EmailMessage, got {content!r:.200}"
    )


def _crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
