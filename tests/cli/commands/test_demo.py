"""`demyjpy demo`: a filter, the mail server in a box, and sample mails through both, end to end."""

import asyncio
import logging
import re
import signal
import smtplib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy.cli.demos import DEMOS
from demyjpy.cli.program_name import program_name
from demyjpy.cli.sample_mails import samples
from demyjpy.cli.signals import tell
from tests.cli.conftest import MAIL
from tests.cli.servers import PATIENCE, ROOT, program, read_until

Run = Callable[..., tuple[int, str, str]]

FILTER = """
    import os
    from demyjpy import define_event_handlers, discard, quarantine, reject, tempfail

    handlers = define_event_handlers(actions={"quarantine"}, state={"mails": 0})

    @handlers.mail
    def sender(event, ctx):
        if event.sender == "ann@example.org":
            return reject(ctx, "5.7.1", "not from you")
        return ctx.set("sender", event.sender)

    @handlers.recipient
    def recipient(event, ctx):
        return tempfail(ctx) if event.address.startswith("carol") else ctx

    @handlers.end_of_message
    def end(event, ctx):
        if not ctx["sender"]:
            return discard(ctx)
        return quarantine(ctx, "a list") if ctx["sender"].startswith("list") else ctx
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a filter into a file of its own."""

    def write(name: str, text: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(text))
        return str(path)

    return write


def test_the_demo_shows_what_its_own_filter_does(run: Run, tmp_path: Path) -> None:
    """Each mail with its SMTP session and its diff, a summary, and what to do next; status 0."""
    status, output, errors = run("demo", "--maildir", tmp_path / "mail")
    assert (status, errors) == (0, "")
    blocks = [block.splitlines() for block in re.sub(r" {2,}(?=250 )", " ", output).split("\n\n")]
    assert len(blocks) == 2 + len(samples()) + 2
    assert blocks[1][0].startswith("filter  demyjpy.cli.demos.size:handlers on inet:")
    assert re.fullmatch(rf"server  SMTP on 127.0.0.1:\d+, mail to {tmp_path}/mail", blocks[1][2])
    queue_id = blocks[2][3].rpartition(" ")[2]
    assert blocks[2] == [
        "1/6 a plain mail, 262 bytes",
        "  MAIL FROM:<ann@example.org> size=262 250 2.1.0 Ok",
        "  RCPT TO:<bob@example.net> 250 2.1.5 Ok",
        f"  DATA, 262 bytes 250 2.0.0 Ok: queued as {queue_id}",
        "  accepted, with 1 change",
        "     Date: Fri, 2 Jan 2026 09:30:00 +0100",
        "     Message-ID: <1.lunch@example.org>",
        "    +X-Message-Size: 88",
    ]
    for block, sample in zip(blocks[2:], samples(), strict=False):
        size = len(sample.content.partition(b"\r\n\r\n")[2])
        assert block[-1] == f"    +X-Message-Size: {size}"
    assert re.fullmatch(r"6 mails in [0-9.]+ s: 6 accepted; 6 changed by the filter", blocks[-2][0])
    assert blocks[-1][0] == "next:"
    stored = [path.read_bytes() for path in (tmp_path / "mail/new").iterdir()]
    bodies = {sample.content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") for sample in samples()}
    assert {mail.partition(b"\n\n")[2] for mail in stored} == bodies


def test_there_are_filters_to_choose_from(run: Run) -> None:
    """The list has each with what it does; each file is one of them, and docs/box.md names all."""
    status, output, errors = run("demo", "--list")
    assert (status, errors) == (0, "")
    rows = dict(line.split(None, 1) for line in output.splitlines())
    assert rows == DEMOS
    assert {one.stem for one in (ROOT / "demyjpy/cli/demos").glob("[a-z]*.py")} == set(DEMOS)
    page = (ROOT / "docs/box.md").read_text()
    assert f"`--list` lists them: {', '.join(f'`{name}`' for name in DEMOS)}." in page


@pytest.mark.parametrize(
    ("name", "count", "line", "tally"),
    [
        ("subject", 1, "    +Subject: [external] Ma\\xf1ana", "6 accepted; 6 changed by the filter"),
        ("disclaimer", 7, "    +Example Ltd. reads this before you do.", "6 accepted; 6 changed"),
        ("recipients", 1, "550 5.1.1 No such user here", "6 accepted; 0 changed by the filter"),
        ("hold", 1, "  quarantined, without changes: 200021 bytes", "5 accepted, 1 quarantined; 0"),
    ],
)
def test_each_of_them_shows_something(run: Run, name: str, count: int, line: str, tally: str) -> None:
    """The one that was chosen is shown with what it does, and what to type to see more of it."""
    status, output, errors = run("demo", "--filter", name)
    assert (status, errors) == (0, "")
    assert f"demyjpy.cli.demos.{name}:handlers on " in output
    assert f"\n        {DEMOS[name]}\n" in output
    assert f" demo --filter {name} --stay" in output
    assert tally in output
    assert [*filter(None, (line in one for one in output.splitlines()))] == [True] * count


def test_a_filter_of_ours_and_one_of_yours_are_not_mixed(run: Run) -> None:
    """One line says what to leave out."""
    status, output, errors = run("demo", "x.py", "--filter", "size")
    said = "expected FILTER or --filter, got both: leave out --filter size"
    assert (status, output, errors) == (2, "", f"demyjpy demo: {said}\n")


@pytest.mark.parametrize("page", ["README.md", "docs/box.md"])
def test_pages_show_what_it_prints(run: Run, page: str) -> None:
    """Line by line, but for what is different each time."""
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (shown,) = (block for block in blocks if "1/6 a plain mail" in block)
    varies = r":[1-9]\d{2,4}\b|/tmp/[^,]*|as [0-9A-F]+|in [0-9.]+ s"
    printed = re.sub(varies, "#", run("demo")[1])
    for part in re.sub(varies, "#", shown).split("[...]\n"):
        assert part in printed


def test_the_demo_of_a_filter_shows_every_verdict(run: Run, write: Any) -> None:
    """Refused, held, discarded and unchanged mail; one of two recipients; still status 0."""
    status, output, errors = run("demo", write("verdicts", FILTER), "--driver", "threads")
    assert (status, errors) == (0, "")
    lines = [line.strip() for line in output.splitlines()]
    assert lines.count("rejected at mail: 550 5.7.1 not from you") == 2
    assert "accepted for 1 of 2 recipients, without changes" in lines
    assert "quarantined, without changes: a list" in lines
    assert "discarded at end_of_message: the client gets 250, nothing is delivered" in lines
    assert "accepted, without changes" in lines
    assert re.search(
        r"s: 2 rejected, 2 accepted, 1 quarantined, 1 discarded; 0 changed by the filter", output
    )
    assert "FILE.py:NAME" not in output


def test_a_filter_that_fails_is_status_69(run: Run, write: Any) -> None:
    """It refuses to serve: each mail says why it was not taken, none is lost."""
    path = write("failing", "def handlers(ctx):\n    raise ValueError('no')\n")
    status, output, _ = run("demo", path)
    assert status == 69
    lines = [line.strip() for line in output.splitlines()]
    failures = [
        line for line in lines if line.startswith("no milter answers there: at the negotiation: ")
    ]
    assert len(failures) == len(samples())
    assert "6 failed; 0 changed by the filter" in output


def test_a_filter_that_cannot_be_loaded_is_status_2(run: Run) -> None:
    """One line, as with the other commands."""
    status, output, errors = run("demo", "no/such/filter.py")
    assert (status, output, errors.count("\n")) == (2, "", 1)


def test_a_maildir_that_cannot_be_made_is_status_1(run: Run, tmp_path: Path) -> None:
    """One line."""
    (tmp_path / "file").write_text("")
    status, output, errors = run("demo", "--maildir", tmp_path / "file/mail")
    assert (status, output, errors.count("\n")) == (1, "", 1)


def test_a_store_that_fails_is_shown(write: Any, run: Run, tmp_path: Path) -> None:
    """The client got 451, and the demo says why."""
    path = write(
        "spoiling",
        """
        from pathlib import Path
        from demyjpy import define_event_handlers

        handlers = define_event_handlers()

        @handlers.end_of_message
        def spoil(event, ctx):
            tmp = Path(__file__).parent / "mail/tmp"
            if tmp.is_dir():
                tmp.rmdir()
                tmp.write_text("no directory")
            return ctx
        """,
    )
    status, output, _ = run("demo", path, "--maildir", tmp_path / "mail")
    assert status == 0
    assert output.count("  cannot store: ") == 6
    assert "6 tempfailed" in output


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_stays_up_until_a_signal(end: int) -> None:
    """With a line for swaks, and each session printed; status 0."""
    with program("demo", "--stay", end=end) as started:
        lines = read_until(started, "  swaks --server ")
        port = int(lines[-1].partition(" --from")[0].rpartition(":")[2])
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        read_until(started, "#7 QUIT")
        started.send_signal(end)
        output, errors = started.communicate(timeout=PATIENCE)
    assert (started.returncode, errors) == (0, "")
    assert output == "1 session: 1 mail stored, 0 refused, 0 discarded\n"
    (server,) = (line for line in lines if line.startswith("server  SMTP"))
    assert not Path(server.rpartition("mail to ")[2].removesuffix(", until the end")).exists()


@pytest.mark.parametrize("moment", ["server  SMTP", "asked"])
@pytest.mark.parametrize(("stay", "status"), [([], 130), (["--stay"], 0)])
def test_a_signal_ends_it_while_mails_are_on_their_way(
    write: Any, stay: list[str], status: int, moment: str
) -> None:
    """Before the first, or in a filter that takes its time: it is not waited for, nor complained of."""
    path = write(
        "slow",
        """
        import threading
        from demyjpy import define_event_handlers

        handlers = define_event_handlers()

        @handlers.mail(blocking=True)
        def slow(event, ctx):
            print("asked", flush=True)
            threading.Event().wait()
        """,
    )
    with program("demo", path, *stay) as started:
        read_until(started, moment)
        started.send_signal(signal.SIGINT)
        output, errors = started.communicate(timeout=PATIENCE)
    assert (started.returncode, errors) == (status, "")
    assert "mails in" not in output


def test_a_demo_that_was_interrupted_leaves_the_log_as_it_was(run: Any, write: Any) -> None:
    """In a program that goes on."""
    path = write(
        "interrupting",
        """
        import os, signal, time
        from pathlib import Path
        from demyjpy import define_event_handlers

        handlers = define_event_handlers()

        @handlers.mail(blocking=True)
        def mail(event, ctx):
            os.kill(os.getpid(), signal.SIGINT)
            while not Path(__file__).with_name("the end").exists():
                time.sleep(0.01)
            return ctx
        """,
    )
    status, output, errors = run("demo", path)
    assert (status, errors) == (130, "")
    assert "mails in" not in output
    assert logging.getLogger().isEnabledFor(logging.ERROR)
    Path(path).with_name("the end").touch()
    for thread in threading.enumerate():
        if thread.name.startswith("demyjpy-handler"):
            thread.join(PATIENCE)


def test_it_is_told_to_end_only_once() -> None:
    """A second signal while it ends changes nothing."""

    async def main() -> bool:
        told = asyncio.get_running_loop().create_future()
        tell(told, None)
        tell(told, OSError("too late"))
        await told
        return told.done()

    assert asyncio.run(main())


def test_what_to_do_next_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the program as it was called: by its path, by its name, or by Python."""
    script = tmp_path / "demyjpy"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program_name() == str(script)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_name() == "demyjpy"
    monkeypatch.setattr(sys, "argv", ["/x/demyjpy/__main__.py"])
    assert program_name() == "python -m demyjpy"


def test_the_samples_are_what_a_filter_may_meet() -> None:
    """A plain one, MIME with UTF-8, folded and repeated fields, the null sender, 8 bits, 200 kB."""
    plain, mime, folded, bounce, eight, large = (sample.content for sample in samples())
    assert plain.isascii()
    assert b"multipart/alternative" in mime
    assert b"=?UTF-8?B?" in mime
    assert b"\r\n\t" in folded
    assert folded.lower().count(b"\r\nx-tag:") == 3
    assert samples()[3].sender == ""
    assert b"multipart/report" in bounce
    with pytest.raises(UnicodeDecodeError):
        eight.decode()
    assert 200_000 <= len(large) <= 201_000
    assert all(
        content.count(b"\n") == content.count(b"\r\n") for content in (plain, mime, folded, eight, large)
    )
