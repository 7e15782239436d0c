"""Under which keys an address or a host is looked up: in the order of access(5) and virtual(5).

Only tables of plain keys are searched so. Rows that are patterns are asked for the whole. Nothing here
does I/O.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

Search: TypeAlias = Literal["key", "address", "virtual", "host"]
"""How a key is looked up."""

_LONGEST_DOMAIN: Final = 255
"""Characters of a domain whose parents are looked up; RFC 1035 section 2.3.4 allows no more."""
_NEVER_SPLIT: Final = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_NEEDS_QUOTES: Final = re.compile(r'[\0-\x20\x7f()<>@,;:\\"\[\]]|\.\.|^\.|\.$|^$')
_ESCAPED: Final = re.compile(r"\\(.)|\"", re.DOTALL)
_TO_ESCAPE: Final = re.compile(r'["\\\r]')


def keys_to_try(key: str, search: Search, delimiter: str, *, dotted: bool) -> tuple[str, ...]:
    """The keys, the most exact first; none twice.

    ``dotted``: a parent domain is looked up as ``.domain``. ``delimiter``: the characters that begin an
    address extension, as ``+`` in ``ann+lists@example.org``.
    """
    if search == "key":
        return (key,)
    if search == "host":
        found = _host(key, dotted=dotted)
    elif search == "address":
        found = _address(key, delimiter, dotted=dotted)
    else:
        found = _virtual(key, delimiter)
    return tuple(dict.fromkeys(one for one in found if one))


def _host(host: str, *, dotted: bool) -> Iterator[str]:
    """smtpd_check.c: check_domain_access and check_addr_access."""
    if not _is_address(host):
        yield from _domains(host, dotted=dotted)
        return
    sign = ":" if ":" in host else "."
    while host:
        yield host
        host = host.rpartition(sign)[0]


def _is_address(host: str) -> bool:
    """Whether it is an IP address, without a scope: Python takes any text for that, of any length."""
    if len(host) > _LONGEST_DOMAIN or "%" in host:
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _domains(domain: str, *, dotted: bool) -> Iterator[str]:
    """A domain and those above it, the top-level one included."""
    domain = domain.removesuffix(".")
    yield domain
    if len(domain) > _LONGEST_DOMAIN:
        return
    at = domain.find(".", 1)
    while at > 0:
        yield domain[at if dotted else at + 1 :]
        at = domain.find(".", at + 1)


def _address(address: str, delimiter: str, *, dotted: bool) -> Iterator[str]:
    """smtpd_check.c: check_mail_access; mail_addr_find.c for the order."""
    if not address:
        yield "<>"  # smtpd_null_access_lookup_key
        return
    local, sign, domain = _divided(address)
    locals_ = _locals(local, delimiter)
    for one in locals_:
        yield from (f"{form}{sign}{domain}" for form in _forms(one))
    if sign:
        yield from _domains(domain, dotted=dotted)
    for one in locals_:
        yield from (f"{form}@" for form in _forms(one))


def _virtual(address: str, delimiter: str) -> Iterator[str]:
    """mail_addr_map.c, without the local part alone: which domains are local, only Postfix knows."""
    local, sign, domain = _divided(address)
    for one in _locals(local, delimiter):
        yield from (f"{form}{sign}{domain}" for form in _forms(one))
    if sign:
        yield f"@{domain}"


def _divided(address: str) -> tuple[str, str, str]:
    """The local part without quotes, the last ``@``, the domain; as trivial-rewrite(8) hands them on."""
    local, sign, domain = address.rpartition("@") if "@" in address else (address, "", "")
    return _ESCAPED.sub(r"\1", local), sign, domain.removesuffix(".")


def _locals(local: str, delimiter: str) -> tuple[str, ...]:
    """The local part, and what it is without its extension: split_addr.c."""
    lower = local.lower()
    if lower in _NEVER_SPLIT:
        return (local,)
    is_list = lower.startswith("owner-") or (len(lower) > 8 and lower.endswith("-request"))
    if is_list and "-" in delimiter:
        return (local,)
    at = min((at for sign in delimiter if (at := local.find(sign)) >= 0), default=0)
    return (local, local[:at]) if at > 0 else (local,)


def _forms(local: str) -> Iterator[str]:
    """The local part in quotes if it needs them, as tables should have it, then without."""
    if _NEEDS_QUOTES.search(local):
        yield '"' + _TO_ESCAPE.sub(r"\\\g<0>", local) + '"'
    yield local
