"""What a type checker makes of a filter: good ones pass mypy --strict, bad ones are told where.

All examples are checked in one run. A line that must be rejected ends in ``# E:`` and the code of the
error (``argument`` for any wrong argument), one whose type is shown in ``# N:`` and that type.
"""

import os
import re
from pathlib import Path

import pytest
from mypy import api

from demyjpy.cli.project_files import Project

ROOT = Path(__file__).parent.parent

HEAD = """\
from demyjpy import *
from demyjpy.registry import Handler, Registry

handlers = define_event_handlers(actions={"add_header"}, state={"count": 0})
ctx: Context
"""

EXAMPLES = {
    "settings": """
from pathlib import Path
from demyjpy.testing import context, run, run_job, session

def make(*, text: str, most: int = 3) -> Registry:
    return handlers

start_milter("unix:/x", make, settings={"text": "a"})
start_milter("unix:/x", make, settings=Path("rules.toml"))
start_milter("unix:/x", make, settings=3)  # E: argument
run(make, session(), settings="rules.toml")
run(make, session(), settings=["rules.toml"])  # E: argument
context(make, settings={"text": "a"}, text="b")
run_job(make, 60, settings={"text": "a"})
""",
    "options of servers": """
from pathlib import Path
from demyjpy.testing.server import serving

start_milter("unix:/x", handlers, workers=3, grace=5, effects=Path("/x"), loop="uvloop", record="/x")
start_milter("unix:/x", handlers, worker=3)  # E: call-arg
start_milter("unix:/x", handlers, workers="3")  # E: argument
start_milter("unix:/x", handlers, on_eror="accept")  # E: call-arg
start_milter("unix:/x", handlers, on_error="drop")  # E: argument
start_milter("unix:/x", handlers, when_full="no")  # E: argument
start_milter("unix:/x", handlers, driver="thread")  # E: argument
start_milter("unix:/x", handlers, loop="trio")  # E: argument
start_milter("unix:/x", handlers, allow=[5])  # E: list-item
start_milter("unix:/x", handlers, on_end=print)  # E: call-arg
serve("unix:/x", handlers, trusted_relays="192.0.2.0/24,2001:db8::/32", max_connections_per_peer=None)
serve("unix:/x", handlers, loop="uvloop")  # E: call-arg
serve("unix:/x", handlers, idle_timeout="1")  # E: argument
with running(handlers, driver="threads", handler_timeout=0.5, settings={"a": 1}) as address:
    reveal_type(address)  # N: str
running(handlers, workers=2)  # E: call-arg
serving(handlers, limits=Limits(recipients=3))
serving(handlers, limit=3)  # E: call-arg
""",
    "policies": """
from demyjpy import with_policy

def on_failure(error: Exception, event: object, ctx: Context) -> Context:
    return tempfail(ctx)

tried = with_policy(handlers, on_error=on_failure, timeout=3, enforce=False)
reveal_type(tried)  # N: demyjpy.registry.Registry
with_policy(handlers, on_error={"smtp": "tempfail", "bounce": on_failure})
with_policy(handlers, on_error="drop")  # E: argument
with_policy(handlers, timeout="3")  # E: argument

@handlers.mail(timeout=3)
def mail(event: Mail, ctx: Context) -> Context:
    return ctx
""",
    "facts": """
reading = define_event_handlers(facts={"client", "sender", "recipients"})
reveal_type(facts(ctx).client)  # N: demyjpy.clients.Client | None
reveal_type(facts(ctx).sender)  # N: str | None
reveal_type(facts(ctx).tls)  # N: demyjpy.facts.Tls | None
reveal_type(recipients(ctx)[0].address)  # N: str
facts(ctx).client = None  # E: misc
facts(ctx).sendr  # E: attr-defined
define_event_handlers(facts=5)  # E: argument
start_milter("inet:20025@localhost", reading, trusted_relays=["192.0.2.0/24"])
""",
    "handlers of each event": """
@handlers.connect
def connect(event: Connect, ctx: Context) -> Context:
    return ctx.set("host", event.host_name)

@handlers.hello
def hello(event: Hello, ctx: Context) -> Context:
    return ctx.set("name", event.greeting)

@handlers.mail
def mail(event: Mail, ctx: Context) -> Context:
    return ctx.set("size", event.parameters.get("SIZE"))

@handlers.recipient
def recipient(event: Recipient, ctx: Context) -> Context:
    return ctx.set("address", event.address)

@handlers.data
def data(event: Data, ctx: Context) -> Context:
    return ctx

@handlers.header
def header(event: Header, ctx: Context) -> Context:
    return ctx.set(event.name, event.value)

@handlers.end_of_headers
def end_of_headers(event: EndOfHeaders, ctx: Context) -> Context:
    return ctx

@handlers.body
def body(event: Body, ctx: Context) -> Context:
    return ctx.set("count", ctx["count"] + len(event.data))

@handlers.message
def message(event: Message, ctx: Context) -> Context:
    return become(ctx, event.set("Subject", event.get("Subject", "none")))

@handlers.end_of_message
def end_of_message(event: EndOfMessage, ctx: Context) -> Context:
    return send_action(ctx, AddHeader("X-Size", str(ctx["count"])))

@handlers.abort
def abort(event: Abort, ctx: Context) -> Context:
    return ctx

@handlers.unknown
def unknown(event: Unknown, ctx: Context) -> Context:
    return reject(ctx, "5.5.1", event.command)

@handlers.quit
def quit(event: Quit | QuitNewConnection, ctx: Context) -> Context:
    return ctx

@handlers.disconnect
def disconnect(event: Disconnect, ctx: Context) -> Context:
    return ctx

@handlers.options
def options(event: Options, ctx: Context) -> Context:
    return default_event_handler(event, ctx)

@handlers.define_macros
def define_macros(event: DefineMacros, ctx: Context) -> Context:
    return default_event_handler(event, ctx)
""",
    "async handlers": """
@handlers.mail
async def mail(event: Mail, ctx: Context) -> Context:
    return ctx

@handlers.body(reply=False)
async def body(event: Body, ctx: Context) -> Context:
    return ctx

@handlers.end_of_message(progress=2.5)
async def end_of_message(event: EndOfMessage, ctx: Context) -> Context:
    return ctx
""",
    "a handler of many events": """
def anything(event: Event, ctx: Context) -> Context:
    return ctx

handlers.mail(anything)
handlers.body(anything)
handlers.body(reply=False)(anything)
handlers.mail(default_event_handler)
""",
    "the message as a value": """
@handlers.message
async def look(event: Message, ctx: Context) -> Context:
    size: int = event.size
    return ctx.set("size", size)

@handlers.message(limit=1_000_000, beyond="reject", blocking=True, progress=None)
def edit(event: Message, ctx: Context) -> Context:
    named = [part for part in event.parts() if part.file_name is not None]
    clean: Message = event.without("X-Spam-*", where=lambda field: field.value == "NO")
    for part in named:
        clean = clean.replace_part(part, b"", type="text/plain")
    return become(ctx, clean.append_text("text", despite="dkim"))

def mail(event: Mail, ctx: Context) -> Context:
    return ctx

def message(event: Message, ctx: Context) -> Context:
    return ctx

reveal_type(edit)  # N: def (demyjpy.message.value.Message, .*PMap[.*str, Any]) -> .*PMap[.*str, Any]
handlers.message(mail)  # E: argument
handlers.message(limit=5)(mail)  # E: argument
handlers.end_of_message(message)  # E: argument
handlers.body(message)  # E: argument
handlers.message(limit="5")  # E: argument
handlers.message(limit=None)  # E: argument
handlers.message(beyond="accept")  # E: argument
handlers.message(beyond=None)  # E: argument
handlers.message(reply=False)  # E: argument
handlers.message(rejected=True)  # E: argument
handlers.end_of_message(limit=5)  # E: argument
handlers.end_of_message(beyond="reject")  # E: argument
value: Message = Message.parse(b"")
become(ctx, b"Subject: x")  # E: argument
become(ctx, "Subject: x")  # E: argument
become(ctx, EndOfMessage())  # E: argument
become(value, ctx)  # E: argument
become(ctx)  # E: call-arg
send_action(ctx, value)  # E: argument
value.set("Subject", b"x")  # E: argument
value.with_body("x")  # E: argument
value.sender = "c"  # E: misc
remember(ctx, size=value.size)
""",
    "an event that is not the handler's": """
def mail(event: Mail, ctx: Context) -> Context:
    return ctx

handlers.body(mail)  # E: argument
handlers.body(reply=False)(mail)  # E: argument
handlers.recipient(mail)  # E: argument
handlers.end_of_message(mail)  # E: argument
handlers.disconnect(mail)  # E: argument
handlers.recipient(rejected=True)(mail)  # E: argument
""",
    "an async handler of another event": """
async def mail(event: Mail, ctx: Context) -> Context:
    return ctx

handlers.body(mail)  # E: argument
""",
    "handlers that return no context": """
def forgets(event: Mail, ctx: Context) -> None:
    send_action(ctx, Reject())

def says(event: Mail, ctx: Context) -> Action:
    return Reject()

def takes_one(event: Mail) -> None:
    return None

handlers.mail(forgets)  # E: argument
handlers.mail(says)  # E: argument
handlers.mail(takes_one)  # E: argument
""",
    "options of each decorator": """
handlers.connect(reply=False, blocking=True)
handlers.recipient(reply=False, blocking=True, rejected=True)
handlers.end_of_message(progress=None)
handlers.end_of_message(progress=1, blocking=True)
handlers.quit(blocking=True)
handlers.body(progress=1)  # E: argument
handlers.mail(rejected=True)  # E: argument
handlers.quit(reply=False)  # E: argument
handlers.end_of_message(reply=False)  # E: argument
handlers.body(reply="no")  # E: argument
handlers.end_of_message(progress="5")  # E: argument
handlers.helo  # E: attr-defined
""",
    "a decorator keeps the function's type": """
@handlers.body(reply=False)
def tally(event: Body, ctx: Context) -> Context:
    return ctx

@handlers.mail
async def wait(event: Mail, ctx: Context) -> Context:
    return ctx

reveal_type(tally)  # N: def (demyjpy.events.Body, .*PMap[.*str, Any]) -> .*PMap[.*str, Any]
reveal_type(wait)  # N: def (demyjpy.events.Mail, .*PMap[.*str, Any]) -> .*Coroutine[Any, Any, .*PMap[
tally("chunk", ctx)  # E: argument
after: Context = tally(Body(b"chunk"), ctx)
""",
    "actions": """
send_action(ctx, AddHeader("X", "v"), AddHeader("X", raw=" v"), InsertHeader(0, "X", "v"))
send_action(ctx, ChangeHeader(1, "X", "v"), DeleteHeader(1, "X"), ReplaceBody(b"x"), Quarantine("x"))
send_action(ctx, AddRecipient("a@b", {"NOTIFY": "NEVER", "X": None}), AddRecipient("a@b", "X=y"))
send_action(ctx, DeleteRecipient("a@b"), ChangeSender(""), ChangeSender("a", None))
send_action(ctx, ReplyCode(550, "5.7.1", "text"), ReplyCode(550, None, ["a", "b"]), ReplyCode(550))
send_action(ctx, Continue(), Accept(), Reject(), TemporaryFailure(), Discard(), Skip())
verdict: Verdict = ReplyCode(450)
edit: Modification = ReplaceBody(b"")
lines: tuple[str, ...] = ReplyCode(550, None, "a").lines
AddHeader("X", 5)  # E: argument
AddHeader("X")  # ok: checked when it is made
InsertHeader("0", "X", "v")  # E: argument
DeleteHeader(1)  # E: call-arg
ReplaceBody("text")  # E: argument
AddRecipient(b"a@b")  # E: argument
AddRecipient("a@b", 5)  # E: argument
ReplyCode("550")  # E: argument
ReplyCode(550, 571)  # E: argument
ReplyCode(550, None, 5)  # E: argument
send_action(ctx, "reject")  # E: argument
send_action(ctx, Reject)  # E: argument
wrong: Verdict = ReplaceBody(b"")  # E: assignment
""",
    "actions are frozen": """
AddHeader("X", "v").name = "Y"  # E: misc
Mail("a@b").sender = "c"  # E: misc
""",
    "shorthands": """
reject(ctx)
reject(ctx, "5.7.1", "no", code=554)
reject(ctx, text=["a", "b"])
tempfail(ctx, "4.7.1", "later", code=421)
remember(ctx, {"a": 1}, b=2)
reveal_type(now(ctx))  # N: datetime.datetime
ctx = note(ctx, "greylisted", wait=300)
ctx = count(ctx, "greylisted", 2, reason="new")
note(ctx, 3)  # E: argument
delete_headers(ctx, "X", [1, 2])
add_recipient(ctx, "a@b", {"NOTIFY": "NEVER"})
macro: str | None = get_macro(ctx, "i")
reject(ctx, code="550")  # E: argument
reject(ctx, 571)  # E: argument
reject(ctx, "5.7.1", "text", 554)  # E: argument
reject("5.7.1")  # E: argument
replace_body(ctx, "text")  # E: argument
insert_header(ctx, "X", "v")  # E: argument
delete_headers(ctx, "X", 1)  # E: argument
length: int = get_macro(ctx, "i")  # E: assignment
""",
    "effects and jobs": """
from collections.abc import Mapping
from typing import Any

class Tally:
    def perform(self, resources: Mapping[str, Any]) -> None:
        resources["table"].add(resources["effect_key"])

def end_of_message(event: EndOfMessage, ctx: Context) -> Context:
    return do(do(ctx, Tally()), Tally(), when="ended")

do(new_context(), Tally(), when="later")  # E: argument
do(new_context(), Tally(), "refused", 3)  # E: call-arg
define_event_handlers(every={3600: Tally()}, resources={"table": lambda given: open(given["path"])})
define_event_handlers(resources={"table": 3})  # E: dict-item
""",
    "answers in tests": """
from attrs import frozen
from demyjpy.testing import AskedQuestion, context, run, session

@frozen
class Listed(Question, pure=True):
    address: str

script = session().mail("ann@example.net")
result = run(handlers, script, answers={Listed: True, Listed("192.0.2.1"): Late()})
run(handlers, script, answers=lambda question: Failed("no route"))
run(handlers, script, answers=["pass"])  # E: argument
asked: tuple[AskedQuestion, ...] = result.asked
asked = result.filters[0].asked + result.messages[0].asked
key: str = asked[0].key
asked[0].key = "other"  # E: misc
context(handlers, answers={"listed": True, "other": Late()}, count=3)
context(handlers, answers=["listed"])  # E: argument
""",
    "filters": """
merged: Registry = merge_handlers(handlers, scoped("acl", handlers))
one: Handler[Any] = merged["mail"]  # E: name-defined
names: list[str] = list(merged)
define_event_handlers(optional_events={"data"}, macros={"mail": ("i",)}, optional_actions=["quarantine"])
define_event_handlers({"mail": lambda event, ctx: ctx})
merge_handlers({"mail": 5})  # E: argument
scoped(handlers, "acl")  # E: argument
define_event_handlers(state=5)  # E: argument
define_event_handlers(action={"add_header"})  # E: call-arg
merged["mail"] = 5  # E: index
""",
}


ARGUMENT = {"arg-type", "call-overload", "type-var"}
"""How mypy calls a wrong argument; which of them depends on how many signatures there are."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, list[str]]]:
    """What mypy says of each example, by line of the example."""
    folder = tmp_path_factory.mktemp("typing")
    for number, text in enumerate(EXAMPLES.values()):
        (folder / f"example_{number}.py").write_text(HEAD + text, encoding="utf-8")
    project = folder / "project"
    for name, text in Project("no-programs").files().items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    config = folder / "mypy.ini"
    config.write_text(f"[mypy]\nmypy_path = {ROOT}:{project}\n", encoding="utf-8")
    options = ["--strict", "--config-file", str(config), "--cache-dir", os.devnull, "--no-error-summary"]
    options += ["--no-pretty", "--show-error-codes", "--no-color-output", "--hide-error-context"]
    files = [*folder.glob("example_*.py"), *project.rglob("*.py")]
    output, errors, _ = api.run([*options, *sorted(map(str, files))])
    assert errors == ""
    said: dict[str, dict[int, list[str]]] = {name: {} for name in EXAMPLES}
    for line in output.splitlines():
        where = re.match(r".*example_(\d+)\.py:(\d+): (\w+): (.*)", line)
        assert where, line  # of a new project, in which nothing is wrong
        name = list(EXAMPLES)[int(where[1])]
        said[name].setdefault(int(where[2]) - HEAD.count("\n"), []).append(f"{where[3]}: {where[4]}")
    return said


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_type_checker_sees_what_is_wrong_and_nothing_else(name, found):
    """Each line that is marked is rejected for that reason, no other line at all."""
    for number, line in enumerate(EXAMPLES[name].splitlines(), 1):
        said = found[name].get(number, [])
        wanted = re.search(r"# ([EN]): (.*)", line)
        if wanted is None:
            assert said == [], line
        elif wanted[1] == "E":
            codes = {re.sub(r".*\[([\w-]+)\]$", r"\1", one) for one in said if one.startswith("error")}
            assert codes, f"accepted: {line}"
            assert codes <= (ARGUMENT if wanted[2] == "argument" else set(wanted[2].split(","))), (
                f"{line}: {said}"
            )
        else:
            assert any(re.search(pattern_of(wanted[2]), one) for one in said), said


def pattern_of(shown: str) -> str:
    """A type as mypy shows it, with ``.*`` where anything may stand."""
    return ".*".join(re.escape(part) for part in shown.split(".*"))
