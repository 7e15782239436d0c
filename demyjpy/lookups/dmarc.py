"""The question what DMARC says of the domain of an author (RFC 9989), and whom it lets speak for it.

The domain of the organization is found by records in DNS, by a walk up the tree of names: no list of
public suffixes is needed. How the records are read, and what follows from them, is pure code.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import field, frozen

from demyjpy.lookups.dns import resolver_of
from demyjpy.questions import Question

__all__ = ["DmarcPolicy", "is_aligned", "names_of_walk", "policy_in"]

MOST_NAMES: Final = 8
"""Names that are asked for a domain (RFC 9989, section 4.10)."""

_LONGEST_NAME: Final = 253
_RECORD: Final = re.compile(r"v\s*=\s*DMARC1\s*(;|$)")
_POLICIES: Final = ("none", "quarantine", "reject")

Tags = Mapping[str, str]


def _lower(text: str) -> str:
    return text.lower()


@frozen
class DmarcPolicy(Question, pure=True, remember_for=30):
    """What DMARC says of the domain of an author: a map as of `policy_in`, or None if it says nothing.

    ``domain``: as `Message.author_domain` has it. At most `MOST_NAMES` names are asked, all at once.
    ``using``: the name of the resource, a `Resolver`; without one the default is asked.
    """

    domain: str = field(converter=_lower)
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = (
        None,
        {
            "domain": "example.org",
            "organization": "example.org",
            "policy": "reject",
            "spf": "relaxed",
            "dkim": "relaxed",
        },
    )

    async def perform(self, resources: Mapping[str, Any]) -> dict[str, str] | None:
        """Ask for the records."""
        resolver, names = resolver_of(resources, self.using), names_of_walk(self.domain)
        found = await asyncio.gather(*(resolver.find(f"_dmarc.{name}", "TXT") for name in names))
        return policy_in(self.domain, dict(zip(names, found, strict=True)))


def names_of_walk(domain: str) -> list[str]:
    """The names at which a record may be, below ``_dmarc``, from the longest (RFC 9989, section 4.10).

    None for what can be no name.
    """
    labels = domain.split(".") if 0 < len(domain) <= _LONGEST_NAME else []
    names = [".".join(labels[at:]) for at in range(len(labels))]
    return names if len(names) <= MOST_NAMES else [names[0], *names[1 - MOST_NAMES :]]


def policy_in(domain: str, records: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """What the records on the walk say of a domain; None if there is none.

    ``records``: the texts at each name of `names_of_walk`, in that order. In the result are ``domain``;
    ``organization``, its domain; ``policy``: ``none``, ``quarantine`` or ``reject``, one step less for a
    domain that tests (``t=y``); ``spf`` and ``dkim``: whether alignment is ``strict`` or ``relaxed``.
    """
    found: dict[str, dict[str, str]] = {}
    for name, texts in records.items():
        if tags := _tags_in(texts):
            found[name] = tags
        if tags.get("psd") == "n" or (tags.get("psd") == "y" and name != domain):
            break  # the walk ends
    if not found:
        return None
    organization = _organization_of(domain, found)
    tags = found.get(domain) or found.get(organization) or [*found.values()][-1]
    policy = tags.get("p", "none") if domain in found else tags.get("sp", tags.get("p", "none"))
    strength = _POLICIES.index(policy) if policy in _POLICIES else 0
    return {
        "domain": domain,
        "organization": organization,
        "policy": _POLICIES[max(0, strength - (tags.get("t") == "y"))],
        "spf": "strict" if tags.get("aspf") == "s" else "relaxed",
        "dkim": "strict" if tags.get("adkim") == "s" else "relaxed",
    }


def is_aligned(policy: Mapping[str, str], method: str, domain: str) -> bool:
    """Whether a domain that passed ``method``, ``"spf"`` or ``"dkim"``, may speak for that of a policy.

    DMARC passes if one of them does (RFC 9989, section 4.4).
    """
    one = domain.lower()
    if one == policy["domain"]:
        return True
    return policy[method] == "relaxed" and f".{one}".endswith(f".{policy['organization']}")


def _tags_in(texts: Sequence[str]) -> dict[str, str]:
    """The tags of the one record among these; empty if there is none, or several (section 4.7)."""
    records = [one for one in texts if _RECORD.match(one)]
    parts = (one.partition("=") for one in records[0].split(";")) if len(records) == 1 else ()
    return {name.strip().lower(): value.strip().lower() for name, _, value in parts}


def _organization_of(domain: str, found: Mapping[str, Tags]) -> str:
    """The domain of an organization, by the records on the walk (section 4.10.2)."""
    for name, tags in found.items():
        if tags.get("psd") == "n":
            return name
        if name != domain and (tags.get("psd") == "y" or "." not in name):
            return ".".join(domain.split(".")[-name.count(".") - 2 :])  # one label below
    return [domain, *found][-1]
