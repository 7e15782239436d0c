"""The public filters, and how each is started; see `tests.pymilters.place`."""

import html
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.pymilters.place import directory_of

SPF: Final = ("spf-engine==3.1.0", "pyspf==2.0.14", "authres==1.2.0", "dnspython==2.7.0")
DKIM: Final = ("dkimpy-milter==1.2.3", "dkimpy==1.1.8", "authres==1.2.0", "dnspython==2.7.0")
SCHEMA: Final = ("jsonschema<4.18", "attrs", "pyrsistent")
SOUP: Final = ("beautifulsoup4==4.12.3", "soupsieve==2.6", "netaddr==1.3.0", "peewee==3.17.8", "lxml")


@frozen
class Filter:
    """A filter: what is installed, and how it is run.

    ``prepare`` gets a directory and the address to listen at; it writes what the filter reads, and
    returns the script and its arguments. ``has_own_address``: the script takes no address, so it gets
    one from outside. ``note``: what must be known to read its row.
    """

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Path, str], list[str]]
    has_own_address: bool = False
    note: str = ""

    @property
    def place(self) -> str:
        """The directory of its packages, which several rows may share."""
        return self.packages[0].rpartition(":")[2].replace("==", "-") if self.packages else "nothing"

    @property
    def directory(self) -> Path:
        """Where it is installed."""
        return directory_of(self.place)


def script_of(command: str) -> Filter:
    """A script of the user's with its arguments, which gets its address from outside."""
    path, *arguments = shlex.split(command)
    script = [str(Path(path).resolve()), *arguments]
    return Filter(command, (), lambda where, address: script, has_own_address=True)


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# ----------------------------------------------------------------------------------- dkimpy-milter
def _dkimpy(where: Path, address: str, *lines: str) -> list[str]:
    text = [
        f"Socket {address}",
        f"PidFile {where}/pid",
        "UserID root",
        "Syslog no",
        "AuthservID mx.example.org",
        *lines,
    ]
    script = directory_of(DKIM[0].replace("==", "-")) / "bin/dkimpy-milter"
    return [str(script), _write(where / "conf", "\n".join(text) + "\n")]


def verifying(where: Path, address: str) -> list[str]:
    """dkimpy-milter verifies."""
    return _dkimpy(where, address, "Mode v")


def signing(where: Path, address: str) -> list[str]:
    """dkimpy-milter signs what clients in 192.0.2.0/24 send."""
    key = directory_of(DKIM[0].replace("==", "-")) / "key"
    if not key.exists():
        command = ["openssl", "genrsa", "-traditional", "-out", str(key), "2048"]
        subprocess.run(command, check=True, capture_output=True)
        key.chmod(0o600)
    return _dkimpy(
        where,
        address,
        "Mode sv",
        "Domain example.net",
        "Selector s",
        f"KeyFile {key}",
        "InternalHosts 192.0.2.0/24",
    )


# ------------------------------------------------------------------------------------ pyspf-milter
def spf(where: Path, address: str) -> list[str]:
    """pyspf-milter, as its commented configuration is."""
    text = f"""debugLevel = 0
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = True
skip_addresses = 127.0.0.0/8
Authserv_Id = mx.example.org
Socket = {address}
PidFile = {where}/pid
UserID = root
InternalHosts = 127.0.0.1
"""
    script = directory_of(SPF[0].replace("==", "-")) / "bin/pyspf-milter"
    return [str(script), _write(where / "conf", text)]


# ----------------------------------------------------------------------------------------- vrfydmn
def _vrfydmn(where: Path, address: str, *options: str) -> list[str]:
    # on Python 3 it takes the letters of the file's name for the domains: "t" is in example.net alone
    _write(where / "t", "example.net OK\n")
    script = directory_of("vrfydmn") / "usr/sbin/vrfydmn"
    arguments = ["-s", address, "-u", "root", "-g", "root", "-f", "t", "-d", *options]
    return [str(script), *arguments]


def rejecting(where: Path, address: str) -> list[str]:
    """Vrfydmn refuses a foreign From."""
    return _vrfydmn(where, address)


def fixing(where: Path, address: str) -> list[str]:
    """Vrfydmn writes the sender over a foreign From."""
    return _vrfydmn(where, address, "-F")


# ------------------------------------------------------------------------------------ pyquarantine
def quarantine_rules(where: Path, address: str) -> list[str]:
    """Pyquarantine 2: two quarantines and some edits."""
    (where / "store").mkdir()
    disclaimer = _write(where / "text", "Sent by nobody.\n")
    page = _write(where / "html", "<p>Sent by nobody.</p>\n")

    def action(name: str, kind: str, *headers: str, **options: object) -> dict[str, object]:
        conditions = {"conditions": {"headers": list(headers)}} if headers else {}
        return {"name": name, "type": kind, "options": options, **conditions}

    def hold(name: str, header: str, milter_action: str) -> dict[str, object]:
        more = {"storage": "box", "smtp_host": "127.0.0.1", "smtp_port": 25}
        return action(name, "quarantine", header, **more, milter_action=milter_action)

    edits = [
        action("tag", "mod_header", field="^Subject$", search="^(.*)$", value="[EXT] \\g<1>"),
        action("clean", "del_header", field="^X-Multi$", value="two"),
        action("mark", "add_header", field="X-Seen", value="by pyquarantine"),
        action(
            "note",
            "add_disclaimer",
            action="append",
            text_template=disclaimer,
            html_template=page,
        ),
    ]
    holds = [hold("virus", "^X-Virus: Yes", "REJECT"), hold("spam", "^X-Spam: Yes", "DISCARD")]
    settings = {
        "socket": address,
        "loglevel": "error",
        "storages": {"box": {"type": "file", "directory": str(where / "store")}},
        "rules": [{"name": "all", "conditions": {"local": False}, "actions": [*holds, *edits]}],
    }
    script = directory_of("pyquarantine-2.1.0") / "bin/pyquarantine-milter"
    return [str(script), "-c", _write(where / "conf", json.dumps(settings))]


def old_quarantine(where: Path, address: str) -> list[str]:
    """Pyquarantine 1, which was another program."""
    text = f"""[global]
quarantines = virus,spam
preferred_quarantine_action = first
smtp_host = 127.0.0.1
smtp_port = 25
storage_type = FILE
storage_directory = {where}
notification_type = NONE
whitelist_type = NONE
[virus]
regex = ^X-Virus: Yes
action = REJECT
reject_reason = Message rejected due to a virus
[spam]
regex = ^X-Spam: Yes
action = DISCARD
"""
    script = directory_of("pyquarantine-1.0.9") / "bin/pyquarantine-milter"
    return [str(script), "-c", _write(where / "conf", text), "-s", address]


# ------------------------------------------------------------------------------------- and the rest
def ppap(where: Path, address: str) -> list[str]:
    """no-ppap-milter needs nothing."""
    return [str(directory_of("no-ppap-milter-0.2.5") / "bin/no-ppap-milter"), "--socket-name", address]


def dspam(where: Path, address: str) -> list[str]:
    """dspam-milter, whose server is not there."""
    text = f"[milter]\nsocket = {address}\ndaemonize = no\n[dspam]\nsocket = unix:{where}/none\n"
    script = directory_of("dspam-milter-0.3.4.post0") / "bin/dspam-milter"
    return [str(script), "--config", _write(where / "conf", text)]


def srs(where: Path, address: str) -> list[str]:
    """The SRS milter in the examples of Debian's python3-srs; it reads pysrs.cfg where it is started."""
    text = f"""[srs]
secret=hush
fwdomain = forward.example.org
srs = example.org
banned_users = mailer-daemon
[srsmilter]
socketname = {address}
reject_spoofed = true
internal_connect = 127.0.0.1
trusted_relay = 198.51.100.1
miltersrs = true
"""
    _write(where / "pysrs.cfg", text)
    return [str(directory_of("python3-srs") / "usr/share/doc/python3-srs/examples/srsmilter.py")]


def example(archive: str, name: str, note: str = "") -> Filter:
    """An example of pymilter's documentation, in a source archive of it."""
    place = archive.replace("==", "-")

    def prepare(where: Path, address: str) -> list[str]:
        return [str(directory_of(place) / place / name)]

    return Filter(name, (f"sdist:{archive}",), prepare, has_own_address=True, note=note)


def nomix(where: Path, address: str) -> list[str]:
    """The other example, as the page of the documentation shows it."""
    name = "usr/share/doc/python-milter-doc/html/milter-nomix_8py-example.html"
    page = (directory_of("python-milter-doc") / name).read_text(encoding="utf-8")
    lines = re.findall(r'<div class="line">(.*?)</div>', page)
    plain = (re.sub(r"<span class=.lineno.>.*?</span>|<[^>]+>", "", line) for line in lines)
    code = (html.unescape(line).replace("\xa0", "", 1).replace("\xa0", " ") for line in plain)
    return [_write(where / "nomix.py", "\n".join(code) + "\n")]


TEMPLATE: Final = "milter-template.py"
PYTHON_2: Final = "for Python 2.7: it raises"
ROWS: Final = (
    Filter("dkimpy-milter, verifying", DKIM, verifying),
    Filter("dkimpy-milter, signing", DKIM, signing),
    Filter("pyspf-milter", SPF, spf),
    Filter("vrfydmn", ("debian:vrfydmn",), rejecting),
    Filter("vrfydmn --fix", ("debian:vrfydmn",), fixing),
    Filter("pyquarantine 2", ("pyquarantine==2.1.0", *SCHEMA, *SOUP), quarantine_rules),
    Filter("pyquarantine 1", ("pyquarantine==1.0.9", *SOUP), old_quarantine),
    Filter("no-ppap-milter", ("no-ppap-milter==0.2.5",), ppap),
    Filter("dspam-milter", ("dspam-milter==0.3.4.post0", "setuptools==66.1.1"), dspam, note=PYTHON_2),
    Filter("srsmilter", ("debian:python3-srs",), srs),
    example("pymilter==1.0.5", "sample.py"),
    example("pymilter==1.0.4", TEMPLATE, PYTHON_2),
    Filter("milter-nomix.py", ("debian:python-milter-doc",), nomix, has_own_address=True, note=PYTHON_2),
)
FILTERS: Final = {one.name: one for one in ROWS}
