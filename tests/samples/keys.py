"""A key pair that signs and verifies mails in tests, and nothing else; short, so that it is fast."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dkim

from demyjpy.lookups.dkim import DkimKeys

PRIVATE = """\
-----BEGIN RSA PRIVATE KEY-----
MIICWwIBAAKBgQDlfjjyD2pHT0U6o7+36InT9YANEJhnusjlp/ZVyDiC7oc/LBTm
350fIEF3osHhKO97/p11H2OY+bfdk0jRG2u0nzNwfvW1Xxt7prLuONQ0egO1FnLa
O+/hgSYol4R2uHeVGAJMDuIb8V+3dABUtz0M/JQL8dcZzIdQzgcLtWWkJwIDAQAB
AoGAVFii51yBDDp3UEkU0qwV1CBb8vFRgnZlFfs4j2iqVH0EmlRCTmSLZAA/74+T
QIUCGAmJp51kxrmpOTfDwI8aczL4+s4+IIdGHiLEw+e58b+/3rtX1fl9dGnGFymp
98l+EKL9Ah93gS//L3l6D73VjGHDt/53huVDOTZLPS5XNQkCQQD6PIYftuSJueE3
ocd7djPKgFRpEO8s9Tdgn6sDpwT3IBOkD2ljHT18JoPWwAGWUuI1DEBTsndlaHCg
dadTxCf9AkEA6sdjioYcm57/ZwMNHuSB4m/I7SqjSzm7o8nEcCG/IkLq555b0OsX
aKV54WdhfQEkkbrQIfrJnL0BubzYdKwb8wJAXZDt8cPYNmtLfBrA1ThAa1KKvXJ4
jA3ws+9f6ZC0+ZaD4Y9lr4rKZ7abC1xl+4hoTr+S+fi8Ti28FzOG6nppHQJATUaR
ke+wjNxZjktnzypBQgmvJbjqBIGdLDzmBk5lPd6uuMvbxrkKfGwy4KkJYn60za6i
gPytzYQ8hCkPSd+4VwJAbwmtusK4kJKLzbBCwLyQ60Iq5c76CCYInFoqpHyjGMGg
mMgv3P6IIhPtCjuj3EayGumQkI/gvR7sr1x87QDrrQ==
-----END RSA PRIVATE KEY-----
"""
PUBLIC = (
    "v=DKIM1; k=rsa; p="
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDlfjjyD2pHT0U6o7+36InT9YANEJhnusjlp/ZVyDiC"
    "7oc/LBTm350fIEF3osHhKO97/p11H2OY+bfdk0jRG2u0nzNwfvW1Xxt7prLuONQ0egO1FnLaO+/hgSYo"
    "l4R2uHeVGAJMDuIb8V+3dABUtz0M/JQL8dcZzIdQzgcLtWWkJwIDAQAB"
)


def sign(content: bytes, domain: bytes = b"example.org", **how: Any) -> bytes:
    """A mail with a signature on top, in the name of a domain."""
    signer = dkim.DKIM(content)
    how.setdefault("canonicalize", (b"relaxed", b"relaxed"))
    line: bytes = signer.sign(b"s1", domain, PRIVATE.encode(), **how)
    return line + content


def good_keys(*domains: str) -> DkimKeys:
    """The key as that of these domains, opened."""
    with TemporaryDirectory() as place:
        path = Path(place, "key")
        path.write_text(PRIVATE, encoding="ascii")
        return DkimKeys(dict.fromkeys(domains, path)).__enter__()


def is_good(content: bytes, at: str = "s1._domainkey.example.org.") -> bool:
    """Whether the first signature of a mail holds, with the key under this name only."""
    records = {at.encode(): PUBLIC.encode()}
    good: bool = dkim.verify(content, dnsfunc=lambda name, timeout: records.get(name))
    return good
