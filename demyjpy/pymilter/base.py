"""The classes that pymilter's filters inherit from: ``Milter.Base`` and ``Milter.Milter``.

An instance is one connection. Its methods are called by `demyjpy.pymilter.filters`; what it asks for
goes to its `MilterContext`.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

from demyjpy.pymilter import constants
from demyjpy.pymilter.constants import (
    CONTINUE,
    OPTIONAL_CALLBACKS,
    P_HDR_LEADSPC,
    P_RCPT_REJ,
)
from demyjpy.pymilter.decorators import WANTED, nocallback, noreply
from demyjpy.shown import safe

_NUMBERS: Final = itertools.count(1)


def uniqueID() -> int:  # noqa: N802  # pymilter's name
    """A number that no call before has given in this process."""
    return next(_NUMBERS)


def decoded(data: bytes, strategy: str) -> str | bytes:
    """Bytes as `demyjpy.pymilter.decorators.decode` says."""
    if strategy == "bytes":
        return data
    try:
        return data.decode("utf-8", strategy)
    except UnicodeDecodeError:
        return data


def all_decoded(given: Iterable[bytes], strategy: str) -> list[Any]:
    """All of them as text, or all of them as bytes: see `decoded`."""
    data = list(given)
    found = [decoded(one, strategy) for one in data]
    return found if all(isinstance(one, str) for one in found) else data


def strategy_of(method: Any) -> str:
    """How a callback wants text that is no UTF-8."""
    return str(getattr(method, "milter_decode", "surrogateescape"))


class Base:
    """A filter that does nothing: one instance for each connection. A subclass overrides callbacks.

    The MTA is asked to call those only that are overridden.
    """

    _ctx: Any = None

    def _setctx(self, ctx: Any) -> None:
        self._ctx = ctx
        if ctx is not None:
            ctx.setpriv(self)

    def log(self, *msg: object) -> None:
        """For subclasses that log."""

    # --------------------------------------------------------------------------------- callbacks
    @nocallback
    def connect(self, hostname: str, family: int, hostaddr: Any) -> int:
        """A client has connected. ``family``: as in `socket`; ``hostaddr``: what that has there."""
        return CONTINUE

    @nocallback
    def hello(self, hostname: str) -> int:
        """HELO or EHLO."""
        return CONTINUE

    def envfrom_bytes(self, *b: bytes) -> Any:
        """``envfrom`` with bytes, which it decodes."""
        return self.envfrom(*all_decoded(b, strategy_of(self.envfrom)))

    @nocallback
    def envfrom(self, f: str, *s: str) -> int:
        """MAIL FROM: the address as it was sent, and the ESMTP parameters."""
        return CONTINUE

    def envrcpt_bytes(self, *b: bytes) -> Any:
        """``envrcpt`` with bytes, which it decodes."""
        return self.envrcpt(*all_decoded(b, strategy_of(self.envrcpt)))

    @nocallback
    def envrcpt(self, to: str, *str: str) -> int:  # noqa: A002  # pymilter's name
        """RCPT TO: the address as it was sent, and the ESMTP parameters."""
        return CONTINUE

    @nocallback
    def data(self) -> int:
        """DATA."""
        return CONTINUE

    def header_bytes(self, fld: str, val: bytes) -> Any:
        """``header`` with bytes, which it decodes."""
        return self.header(fld, decoded(val, strategy_of(self.header)))

    @nocallback
    def header(self, field: str, value: str) -> int:
        """A header field."""
        return CONTINUE

    @nocallback
    def eoh(self) -> int:
        """The end of the header."""
        return CONTINUE

    @nocallback
    def body(self, blk: bytes) -> int:
        """A chunk of the body."""
        return CONTINUE

    @nocallback
    def unknown(self, cmd: str) -> int:
        """A command that the MTA does not know."""
        return CONTINUE

    def eom(self) -> int:
        """The end of the message, at which it can be changed."""
        return CONTINUE

    def abort(self) -> int:
        """The message was given up."""
        return CONTINUE

    def close(self) -> int:
        """The connection has ended."""
        return CONTINUE

    # ------------------------------------------------------------------------------- negotiation
    @classmethod
    def protocol_mask(klass) -> int:  # noqa: N804  # pymilter's name
        """The protocol bits that are not to be set: what it wants to be called for, and to answer."""
        wanted = getattr(klass, WANTED, 0)
        mask = (P_RCPT_REJ | P_HDR_LEADSPC) & ~wanted
        for name, (quiet, off) in OPTIONAL_CALLBACKS.items():
            mask |= (quiet | off) & ~getattr(getattr(klass, name), "milter_protocol", 0)
        return int(mask)

    def negotiate(self, opts: list[int]) -> int:
        """What the MTA offers, ``[actions, protocol, 0, 0]``, is changed to what is to hold."""
        opts[1] &= ~self.protocol_mask()
        opts[2] = opts[3] = 0
        return CONTINUE

    # ------------------------------------------------------------------------ for use in callbacks
    def getsymval(self, sym: str) -> str | None:
        """The value of a macro, such as ``i`` or ``{auth_authen}``; None if it has none."""
        value: str | None = self._ctx.getsymval(sym)
        return value

    def setreply(self, rcode: str, xcode: str | None = None, msg: str | None = None, *ml: str) -> None:
        """The SMTP reply that the next refusal gives: see `MilterContext.setreply`."""
        self._ctx.setreply(rcode, xcode, msg, *ml)

    setmlreply = setreply

    def setsymlist(self, stage: int, *macros: str) -> None:
        """Ask for these macros at a stage. Only in ``negotiate``."""
        self._ctx.setsymlist(stage, " ".join(macros))

    def addheader(self, field: str, value: str, idx: int = -1) -> None:
        """Add a header field. As all that follows: only in ``eom``, else `error`."""
        self._ctx.addheader(field, value, idx)

    def chgheader(self, field: str, idx: int, value: str | None) -> None:
        """Change or delete a header field."""
        self._ctx.chgheader(field, idx, value)

    def addrcpt(self, rcpt: str, params: str | None = None) -> None:
        """Add a recipient."""
        self._ctx.addrcpt(rcpt, params)

    def delrcpt(self, rcpt: str) -> None:
        """Delete a recipient."""
        self._ctx.delrcpt(rcpt)

    def replacebody(self, body: str | bytes) -> None:
        """Replace the body."""
        self._ctx.replacebody(body)

    def chgfrom(self, sender: str, params: str | None = None) -> None:
        """Change the sender."""
        self._ctx.chgfrom(sender, params)

    def quarantine(self, reason: str) -> None:
        """Have the MTA keep the message in its quarantine."""
        self._ctx.quarantine(reason)

    def progress(self) -> None:
        """Report to the MTA that it is still at work, which happens in any case."""
        self._ctx.progress()


class Milter(Base):
    """A filter that prints what it is called for, and does nothing else."""

    def log(self, *msg: object) -> None:
        """Print it. What clients say is in it: nothing in it controls a terminal."""
        print("Milter:", *(safe(str(one)) for one in msg), "", sep="\n")  # noqa: T201  # that is what it is for

    @noreply
    def connect(self, hostname: str, family: int, hostaddr: Any) -> int:
        self.log(f"connect from {hostname} at {hostaddr}")
        return CONTINUE

    @noreply
    def hello(self, hostname: str) -> int:
        self.log(f"hello from {hostname}")
        return CONTINUE

    @noreply
    def envfrom(self, f: str, *str: str) -> int:  # noqa: A002  # pymilter's name
        self.log("mail from", f, str)
        return CONTINUE

    @noreply
    def envrcpt(self, to: str, *str: str) -> int:  # noqa: A002  # pymilter's name
        self.log("rcpt to", to, str)
        return CONTINUE

    @noreply
    def header(self, field: str, value: str) -> int:
        self.log(f"{field}: {value}")
        return CONTINUE

    @noreply
    def eoh(self) -> int:
        self.log("eoh")
        return CONTINUE

    def eom(self) -> int:
        self.log("eom")
        return CONTINUE

    def abort(self) -> int:
        self.log("abort")
        return CONTINUE

    def close(self) -> int:
        self.log("close")
        return CONTINUE


# ------------------------------------------------------------------------------- ESMTP parameters
def dictfromlist(args: Iterable[str]) -> dict[str, str]:
    """The ESMTP parameters that have a value, as a map; keys in upper case."""
    return {key: value for key, equals, value in _split(args) if equals}


def param2dict(str: Iterable[str]) -> dict[str, str | None]:  # noqa: A002  # pymilter's name
    """ESMTP parameters as a map; keys in upper case, None for one without a value."""
    return {key: value if equals else None for key, equals, value in _split(str)}


def _split(words: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    for word in words:
        key, equals, value = word.partition("=")
        yield key.upper(), equals, value


def envcallback(c: Callable[..., Any], args: tuple[str, ...]) -> Any:
    """Call a function with an address, and with the ESMTP parameters that have a value by keyword."""
    bare = [word for word in args[1:] if "=" not in word]
    return c(args[0], *bare, **dictfromlist(args[1:]))


def decode_mask(bits: int, names: Iterable[str]) -> list[str]:
    """Those of the constants with these names whose bits are set, and what is left as a number."""
    found = [name for name in names if bits & getattr(constants, name)]
    left = bits
    for name in found:
        left &= ~getattr(constants, name)
    return [*found, *([hex(left)] if left else [])]
