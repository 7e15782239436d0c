"""Questions to programs: what they get, what comes back, and that none is left behind."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups.programs import Programs, RunProgram
from demyjpy.questions import Answered, Failed
from tests.lookups.servers import ask_once, outcome, with_client


def said(status=0, output=b"", errors=b""):
    return Answered({"status": status, "output": output, "errors": errors})


def test_a_program_says_what_it_has_to_say():
    """Its status, its output, and what it complains about; it gets its input, and little environment."""
    assert outcome(RunProgram(("cat",), given=b"x" * 60_000)) == said(output=b"x" * 60_000)
    assert outcome(RunProgram(("sh", "-c", "echo no >&2; exit 3"))) == said(3, errors=b"no\n")
    assert sorted(outcome(RunProgram(("env",))).value["output"].split(b"\n"))[1:] == [
        b"LANG=C.UTF-8",
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]


def test_an_effect_that_fails_is_not_done():
    """So that it is tried again; what the program wrote may be of a mail, and stays out of the log."""
    fails, resources = RunProgram(("sh", "-c", "echo private >&2; exit 3")), {"effect_key": "7f.1"}
    found = outcome(fails, resources)
    assert found == Failed("RefusedError: expected sh to end with status 0, got 3")
    assert outcome(RunProgram(("true",)), resources) == said()


def test_it_need_not_read_its_input():
    """That it ends before is no failure."""
    assert outcome(RunProgram(("true",), given=b"x" * 1_000_000)) == said()


def test_there_is_no_shell():
    """An argument stays one, with any bytes in it."""
    found = outcome(RunProgram(("printf", "%s|"), ("a b; $(id)", "\udcff")))
    assert found == said(output=b"a b; $(id)|\xff|")


@pytest.mark.parametrize(
    ("command", "arguments", "wrong"),
    [
        (("rm",), ("-rf",), "not to begin with '-'"),
        (("rm",), "x", "expected words as in"),
        ((), (), "expected the name of a program"),
        (("",), (), "expected the name of a program"),
        (("rm",), ("a\0b",), "texts without NUL"),
        (("rm",), (3,), "texts without NUL"),
    ],
)
def test_a_key_cannot_become_an_option(command, arguments, wrong):
    """It is an error when the question is made."""
    with pytest.raises(HandlerError, match=wrong):
        RunProgram(command, arguments)


def test_behind_two_hyphens_there_are_no_options():
    """So an argument may be anything there."""
    found = outcome(RunProgram(("printf", "--"), ("-%s", "x")))
    assert found == said(output=b"-x")


def is_running(pid):
    """Whether there is such a process that has not ended."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    return False


def test_what_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path):
    """Its children hold its output open, and would else stay."""
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait"

    async def main(programs):
        return [
            await ask_once(RunProgram(("sh", "-c", script), timeout=0.5), {"programs": programs}),
            await ask_once(
                RunProgram(("sh", "-c", f"{script} & exit"), timeout=0.5), {"programs": programs}
            ),
            await ask_once(RunProgram(("true",)), {"programs": programs}),
        ]

    *late, fine = with_client(lambda: Programs(pool=1), main)
    assert late == [Failed("UnansweredError: program sh: no answer within 0.5 s")] * 2
    assert fine == said()
    for pid in pids.read_text(encoding="ascii").split():
        for _ in range(500):
            if not is_running(pid):
                break
            time.sleep(0.01)
        assert not is_running(pid)


def test_a_mail_that_makes_a_program_hang_does_not_close_it_for_others():
    """But one that is not there is not looked for again and again."""
    hangs, missing = RunProgram(("sleep", "9"), timeout=0.01), RunProgram(("/no/such",))

    async def main(programs):
        return [await ask_once(one, {"programs": programs}) for one in (hangs, hangs, missing, missing)]

    found = with_client(lambda: Programs(most_failures=1), main)
    assert ["was not asked" in one.error for one in found] == [False, False, False, True]


def test_too_much_output_is_a_failure():
    """The program is killed, and the memory is not filled."""
    found = outcome(RunProgram(("cat", "/dev/zero")))
    assert found.error == (
        "RefusedError: program cat: expected at most 65536 bytes of output, got more: it was killed"
    )


def test_a_program_that_is_not_there():
    """Nor is one that a signal has ended an answer."""
    assert outcome(RunProgram(("/no/such",))).error.startswith(
        "UnansweredError: program /no/such: [Errno 2]"
    )
    assert outcome(RunProgram(("sh", "-c", "kill -9 $$"))) == Failed(
        "RefusedError: sh was ended by signal 9"
    )
