"""``session()``: an SMTP session as a value, built step by step, to be played by `demyjpy.testing.run`.

A builder refuses what no SMTP client could make an MTA say to a milter, unless told ``raw=True``; the
rules are `demyjpy.testing.legal`'s.
"""

from email.message import Message as EmailMessage
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from demyjpy.errors import LocalProtocolError
from demyjpy.events import strip_brackets
from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.testing.legal import check_step
from demyjpy.testing.script_code import as_code

Content: TypeAlias = "str | bytes | Path | EmailMessage"

PLAIN: Final = "Subject: test\n\nHello\n"
"""The message that ``message()`` sends."""


@frozen(repr=False)
class Script:
    """Steps of an SMTP client, in order. Each method gives a new script with one step more.

    Made by `session`. ``raw``: whatever the client says is taken, and the MTA answers as it would.
    What is not legal otherwise raises `LocalProtocolError`.
    """

    steps: tuple[ClientStep, ...]
    raw: bool = False

    def __repr__(self) -> str:
        return as_code(self.steps)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython's protocol
        """As code for Hypothesis and IPython, too, who would write out every attribute."""
        printer.text(repr(self))

    def then(self, *more: ClientStep) -> "Script":
        """With these steps behind: frozen values of `demyjpy.mta.client_steps`."""
        script = self
        for step in more:
            if not self.raw:
                check_step(script.steps, step)
            script = evolve(script, steps=(*script.steps, step))
        return script

    def ehlo(self, name: str = "client.example", *, verb: str = "EHLO") -> "Script":
        """EHLO (or HELO); a second one resets what was begun."""
        return self.then(client_steps.Ehlo(name, verb))

    def starttls(self, **macros: str) -> "Script":
        """STARTTLS; ``starttls(tls_version="TLSv1.3", cipher="...")`` gives the macros their values.

        Behind it should stand a new ``ehlo()``.
        """
        return self.then(client_steps.StartTls(macros or {"tls_version": "TLSv1.3"}))

    def auth(self, user: str, kind: str = "PLAIN", **macros: str) -> "Script":
        """AUTH as a user: ``{auth_authen}``, ``{auth_type}``, and further macros by name."""
        return self.then(client_steps.Auth({"auth_type": kind, "auth_authen": user, **macros}))

    def mail(self, sender: str, *, raw: str | None = None, **parameters: str | None) -> "Script":
        """MAIL FROM; ``""`` is the null sender. ``mail("a@b", SIZE="100", SMTPUTF8=None)``.

        ``raw`` is the address as the client writes it, if that is not the address in ``<>``.
        """
        return self.then(client_steps.Mail(strip_brackets(sender), parameters, raw))

    def rcpt(
        self,
        address: str,
        *,
        raw: str | None = None,
        refused: str | None = None,
        **parameters: str | None,
    ) -> "Script":
        """RCPT TO. ``refused="5.1.1 unknown user"``: the MTA refuses this recipient itself."""
        return self.then(client_steps.Rcpt(strip_brackets(address), parameters, raw, refused))

    def message(self, content: Content = PLAIN) -> "Script":
        """DATA and a message: bytes, text, the path of an ``.eml`` file, or an `EmailMessage`.

        A string without a line break is a path; text and files may have LF line ends, bytes are sent
        as they are.
        """
        return self.then(client_steps.Data(read_content(content)))

    def rset(self) -> "Script":
        """RSET."""
        return self.then(client_steps.Rset())

    def command(self, line: str) -> "Script":
        """A command that the MTA does not know."""
        return self.then(client_steps.Command(line))

    def quit(self) -> "Script":
        """QUIT; a script that does not end is ended with it."""
        return self.then(client_steps.Quit())

    def drop(self) -> "Script":
        """The client goes away without QUIT."""
        return self.then(client_steps.Drop())


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
    script = Script((), raw).then(client_steps.Connect(client, name, port))
    return script if helo is None else script.ehlo(helo)


def read_content(content: Content) -> bytes:
    """A message as bytes with CRLF line ends; `LocalProtocolError` for what is no message."""
    if isinstance(content, EmailMessage):
        return content.as_bytes(policy=content.policy.clone(linesep="\r\n"))
    if isinstance(content, Path) or (isinstance(content, str) and "\n" not in content):
        try:
            return _crlf(Path(content).read_bytes())
        except OSError as error:
            raise LocalProtocolError(
                f"expected a message as text of several lines, or the path of a file, got {content!r}: "
                f"{error.strerror}"
            ) from error
    if isinstance(content, str):
        return _crlf(content.encode("utf-8", "surrogateescape"))
    if isinstance(content, bytes):
        return content
    raise LocalProtocolError(
        f"expected a message as bytes, text, path or EmailMessage, got {content!r:.200}"
    )


def _crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
