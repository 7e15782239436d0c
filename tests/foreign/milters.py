"""How each milter is started: its configuration, and the programs that it needs beside it.

A recipe is a context manager of a port: while the block runs, the milter listens there on loopback.
"""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from tests.foreign.place import ROOT, inside, new_directory, python
from tests.integration.ports import free_port

Recipe: TypeAlias = Callable[[int], AbstractContextManager[None]]

PATIENCE: Final = 90.0  # seconds; some load rules for long


@contextmanager
def program(*command: str | Path, port: int | None = None, path: Path | None = None) -> Iterator[None]:
    """A program that runs while the block does, and listens on ``port`` or ``path`` before it begins."""
    with (ROOT / "run" / "output").open("ab") as output:
        started = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--pid", "--fork", "--kill-child=KILL"),
                *("sh", "-c", '"$@"; exit $?', "sh"),  # a worker whose parent has number 1 is an orphan
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "TZ": "UTC",
                "HOME": "/root",
            },
        )
    try:
        _wait(started, port, path)
        yield
    finally:
        started.send_signal(signal.SIGKILL)  # and the namespace with it
        started.wait(10)


def _wait(started: "subprocess.Popen[bytes]", port: int | None, path: Path | None) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"{started.args} has ended: {_said()}")
        family = socket.AF_INET if port else socket.AF_UNIX
        with socket.socket(family) as probe:
            if not probe.connect_ex(("127.0.0.1", port) if port else str(path)):
                return
        time.sleep(0.05)
    raise RuntimeError(f"{started.args} does not listen: {_said()}")


def _said() -> str:
    return (ROOT / "run" / "output").read_text(errors="replace")[-2000:]


def within(*command: str | Path, user: str = "root") -> tuple[str | Path, ...]:
    """A command of the other Debian."""
    return ("chroot", f"--userspec={user}:{user}", ROOT, *command)


@contextmanager
def _files(user: str | None = None, **texts: str) -> Iterator[Path]:
    """A directory with these files in it, which belong to a user there."""
    directory = new_directory()
    try:
        for name, text in texts.items():
            (directory / name.replace("_", ".")).write_text(text)
        if user:
            subprocess.run(within("chown", "-R", user, inside(directory)), check=True)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _listening(port: int) -> str:
    return f"inet:{port}@127.0.0.1"


@contextmanager
def opendkim(port: int) -> Iterator[None]:
    """Signs mail from test, verifies other."""
    with _files() as directory:
        key = ("opendkim-genkey", "-b", "1024", "-s", "sel", "-d", "test", "-D", inside(directory))
        subprocess.run(within(*key), check=True, capture_output=True)
        (directory / "conf").write_text(
            f"Socket {_listening(port)}\nMode sv\nDomain test\nSelector sel\nSyslog no\n"
            f"KeyFile {inside(directory)}/sel.private\nRequireSafeKeys no\nUserID root\n"
            f"PidFile {inside(directory)}/pid\nDNSTimeout 1\nNameservers 127.0.0.1\n"
        )
        with program(*within("opendkim", "-f", "-x", f"{inside(directory)}/conf"), port=port):
            yield


@contextmanager
def opendmarc(port: int) -> Iterator[None]:
    """Reports, and refuses nothing: nobody answers its questions."""
    text = (
        f"Socket {_listening(port)}\nUserID root\nSyslog no\nDNSTimeout 1\n"
        "RejectFailures true\nSPFSelfValidate true\nIgnoreHosts /dev/null\n"
    )
    with (
        _files(conf=text) as directory,
        program(*within("opendmarc", "-f", "-c", f"{inside(directory)}/conf"), port=port),
    ):
        yield


@contextmanager
def rspamd(port: int) -> Iterator[None]:
    """Its proxy worker, which scans by itself."""
    proxy = (
        f'bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 20s; count = 1;\n'
        'upstream "local" { default = yes; self_scan = yes; }\n'
    )
    settings = {
        "worker-proxy.inc": proxy,
        "worker-normal.inc": "enabled = false;\n",
        "worker-controller.inc": f'bind_socket = "127.0.0.1:{free_port()}";\n',
        "worker-fuzzy.inc": "enabled = false;\n",
        "options.inc": (
            'dns { nameserver = ["127.0.0.1:9"]; timeout = 0.05s; retransmits = 1; }\n'
            "local_addrs = [];\n"
        ),
        "milter_headers.conf": (
            'use = ["x-spamd-bar", "x-spam-level"];\nauthenticated_headers = [];\nskip_local = false;\n'
        ),
        "logging.inc": 'type = "console"; level = "error";\n',
    }
    for name, text in settings.items():
        (ROOT / "etc/rspamd/local.d" / name).write_text(text)
    command = within("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/etc/rspamd/rspamd.conf")
    with program(*command, port=port):
        yield


@contextmanager
def clamav(port: int) -> Iterator[None]:
    """The daemon with the one signature that everybody has, and its milter."""
    clamd_port = free_port()
    eicar = (
        "Eicar:0:*:58354f2150254041505b345c505a58353428505e2937434329377d24454943415"
        "22d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n"
    )
    daemon = (
        f"TCPSocket {clamd_port}\nTCPAddr 127.0.0.1\nForeground yes\nUser clamav\n"
        "DatabaseDirectory {here}/db\n"
    )
    milter = (
        f"MilterSocket {_listening(port)}\nForeground yes\nUser clamav\n"
        f"ClamdSocket tcp:127.0.0.1:{clamd_port}\nOnInfected Reject\nOnFail Defer\n"
        "RejectMsg infected with %v\nAddHeader Replace\nTemporaryDirectory /tmp\n"
    )
    with _files() as directory, ExitStack() as stack:
        here = inside(directory)
        (directory / "db").mkdir()
        (directory / "db/own.ndb").write_text(eicar)
        (directory / "clamd.conf").write_text(daemon.format(here=here))
        (directory / "milter.conf").write_text(milter)
        subprocess.run(within("chown", "-R", "clamav", here), check=True)
        stack.enter_context(program(*within("clamd", "-c", f"{here}/clamd.conf"), port=clamd_port))
        stack.enter_context(program(*within("clamav-milter", "-c", f"{here}/milter.conf"), port=port))
        yield


@contextmanager
def spamassassin(port: int) -> Iterator[None]:
    """Its daemon without the network, and spamass-milter."""
    spamd_port = free_port()
    rules = "report_safe 0\nrequired_score 5\nclear_headers\nadd_header all Flag _YESNO_\nuse_bayes 0\n"
    with _files(local_cf=rules) as directory, ExitStack() as stack:
        here = inside(directory)
        daemon = (
            "spamd",
            "-L",
            "-x",
            "-i",
            "127.0.0.1",
            "-p",
            str(spamd_port),
            "-m",
            "2",
            "--siteconfigpath",
            here,
        )
        stack.enter_context(program(*within(*daemon), port=spamd_port))
        milter = (
            "spamass-milter",
            "-p",
            _listening(port),
            "-r",
            "10",
            "--",
            "-d",
            "127.0.0.1",
            "-p",
            str(spamd_port),
        )
        stack.enter_context(program(*within(*milter), port=port))
        yield


@contextmanager
def dkimpy(port: int) -> Iterator[None]:
    """In Python over pymilter; signs mail from test."""
    with _files("dkimpy-milter") as directory:
        key = ("opendkim-genkey", "-b", "1024", "-s", "sel", "-d", "test", "-D", inside(directory))
        subprocess.run(within(*key), check=True, capture_output=True)
        (directory / "conf").write_text(
            f"Socket {_listening(port)}\nUserID root\nSyslog no\nMode sv\nDomain test\nSelector sel\n"
            f"KeyFile {inside(directory)}/sel.private\nPidFile {inside(directory)}/pid\n"
            "MacroList daemon_name|client.test\nInternalHosts 127.0.0.1\nDNSTimeout 1\n"
        )
        with program(*within("dkimpy-milter", f"{inside(directory)}/conf"), port=port):
            yield


@contextmanager
def pyspf(port: int) -> Iterator[None]:
    """In Python over pymilter."""
    text = (
        f"Socket = {_listening(port)}\nUserID = root\nHELO_reject = False\nMail_From_reject = False\n"
        "skip_addresses = 192.0.2.0/24\nHeader_Type = AR\nAuthserv_Id = postfix.test\nLookup_Time = 2\n"
    )
    with _files("pyspf-milter") as directory:
        (directory / "conf").write_text(text + f"PidFile = {inside(directory)}/pid\n")
        with program(*within("pyspf-milter", f"{inside(directory)}/conf"), port=port):
            yield


@contextmanager
def mailfromd(port: int) -> Iterator[None]:
    """A filter in its own language that does a bit of everything."""
    text = """\
prog header
do
  if $1 = "Subject" and $2 matches "spam"
    reject 550 5.7.1 "no spam"
  fi
done
prog eom
do
  header_add("X-Mailfromd", "seen")
  header_replace("Subject", "[M] changed")
done
"""
    with _files("daemon", filter_mf=text) as directory:
        here = inside(directory)
        command = (
            "mailfromd",
            "--foreground",
            "--stderr",
            f"--port=inet://127.0.0.1:{port}",
            f"--state-directory={here}",
        )
        with program(*within(*command, "--user=daemon", f"{here}/filter.mf"), port=port):
            yield


@contextmanager
def mimedefang(port: int) -> Iterator[None]:
    """Its multiplexor with a filter in Perl: an attachment is replaced, a note is added."""
    text = """\
use MIME::Entity;
sub filter {
    my ($entity, $fname, $ext, $type) = @_;
    return action_replace_with_warning("An attachment was removed.") if $fname =~ /\\.exe$/i;
    return action_accept();
}
sub filter_end {
    my ($entity) = @_;
    action_add_header("X-Defanged", "yes");
    action_change_header("X-Three", "defanged", 2);
}
1;
"""
    with _files("defang", filter=text) as directory:
        here = inside(directory)
        spool = ROOT / "var/spool/MIMEDefang"
        multiplexor = (
            *(
                "mimedefang-multiplexor",
                "-D",
                "-U",
                "defang",
                "-s",
                f"{here}/mx.sock",
                "-F",
                f"{here}/filter",
            ),
            *("-m", "1", "-x", "2", "-p", f"{here}/mx.pid", "-z", inside(spool)),
        )
        with program(*within(*multiplexor), path=directory / "mx.sock"):
            milter = ("mimedefang", "-D", "-U", "defang", "-m", f"{here}/mx.sock", "-z", inside(spool))
            with program(*within(*milter, "-p", _listening(port), "-P", f"{here}/md.pid"), port=port):
                yield


@contextmanager
def amavis(port: int) -> Iterator[None]:
    """The daemon with no scanner, and its milter."""
    text = """\
use strict;
$max_servers = 4; $max_requests = 1000;
$daemon_user = 'amavis'; $daemon_group = 'amavis';
$mydomain = 'test'; $myhostname = 'postfix.test';
$MYHOME = '{here}'; $TEMPBASE = "$MYHOME/tmp"; $db_home = "$MYHOME/db"; $enable_db = 0;
$pid_file = "$MYHOME/pid"; $lock_file = "$MYHOME/lock"; $QUARANTINEDIR = undef;
$unix_socketname = "$MYHOME/sock"; $inet_socket_port = undef; $log_level = 0; $do_syslog = 0;
$logfile = "$MYHOME/log";
@local_domains_maps = ( 1 ); @bypass_virus_checks_maps = (1); @bypass_spam_checks_maps = (1);
$protocol = 'AM.PDP'; $policy_bank{'AM.PDP'} = { protocol => 'AM.PDP' };
$interface_policy{'SOCK'} = 'AM.PDP';
$final_banned_destiny = D_REJECT; $final_bad_header_destiny = D_PASS;
$banned_filename_re = new_RE(qr'\\.exe$'i);
$X_HEADER_TAG = 'X-Amavis'; $X_HEADER_LINE = 'seen';
$allowed_header_tests{'multiple'} = 0;
1;
"""
    with _files("amavis") as directory, _files() as settings:
        here, conf = inside(directory), settings / "conf"
        for name in ("tmp", "db", "work"):
            (directory / name).mkdir(mode=0o750)
        conf.write_text(text.replace("{here}", here))
        subprocess.run(within("chown", "-R", "amavis:amavis", here), check=True)
        with program(*within("amavisd", "-c", inside(conf), "foreground"), path=directory / "sock"):
            milter = (
                "amavisd-milter",
                "-f",
                "-s",
                _listening(port),
                "-S",
                f"{here}/sock",
                "-w",
                f"{here}/work",
            )
            command = within(*milter, "-p", f"{here}/milter.pid", user="amavis")
            with program(*command, port=port):
                yield


@contextmanager
def _python(port: int, name: str) -> Iterator[None]:
    script = Path(__file__).with_name("scripts") / f"{name}.py"
    with program(python(), script, str(port), port=port):
        yield


MILTERS: Final[Mapping[str, Recipe]] = {
    "opendkim": opendkim,
    "opendmarc": opendmarc,
    "rspamd": rspamd,
    "clamav-milter": clamav,
    "spamass-milter": spamassassin,
    "dkimpy-milter": dkimpy,
    "pyspf-milter": pyspf,
    "mailfromd": mailfromd,
    "mimedefang": mimedefang,
    "amavisd-milter": amavis,
    "python-libmilter": lambda port: _python(port, "with_libmilter"),
    "kilter": lambda port: _python(port, "with_kilter"),
}
"""By name: ten packages of Debian, and an example for each of two libraries of PyPI."""
