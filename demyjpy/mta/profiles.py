"""The MTAs that are modelled, as data: `Postfix` and `Sendmail`, each from a module of its own."""

from typing import Final

from demyjpy.mta.postfix import Postfix
from demyjpy.mta.profile import DATE, OFFER, DefaultAction, Profile, Reply
from demyjpy.mta.sendmail import Sendmail

__all__ = ["DATE", "MTAS", "OFFER", "DefaultAction", "Postfix", "Profile", "Reply", "Sendmail"]

MTAS: Final[dict[str, type[Profile]]] = {"postfix": Postfix, "sendmail": Sendmail}
"""By the names that users give them."""
