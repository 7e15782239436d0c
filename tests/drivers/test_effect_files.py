"""The file in which effects of a message are kept: all of it is read, or none."""

import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from demyjpy.drivers import effect_files
from demyjpy.drivers.effect_files import (
    DONE,
    WAITS,
    Directory,
    EffectFile,
    FilesInHand,
    read_effects,
    write_effects,
)
from demyjpy.drivers.effect_takeover import find_class
from demyjpy.effects import Do
from demyjpy.engine.connection import Requested
from demyjpy.engine.effect_values import UnkeepableError, UnknownClassError, UnreadableError
from demyjpy.engine.stock import Stock, hold, lend
from demyjpy.events import Mail, Recipient
from demyjpy.message import Kept, Message
from demyjpy.registry import Handler
from demyjpy.requests import Request


@frozen
class Effect:
    """One with anything in it."""

    value: Any

    def perform(self, resources: Any) -> None:
        """Never called here."""
        raise AssertionError


HANDLER: Handler[Any] = Handler("mail", lambda event, ctx: ctx, filter="archive")
MESSAGE = Message.of(
    [("Subject", " one\n\ttwo"), ("X-Odd", "no space \udcff")],
    Kept(150_000, lambda: [b"x" * 65_536, b"y" * 65_536, b"z" * 18_928]),
    Mail("ann@example.org", {"SIZE": "7", "BODY": None}),
    [Recipient("bob@example.org", raw="<bob@example.org> ?"), "eve@example.org"],
)


def requested(*effects: Any) -> list[Requested]:
    """Effects that a handler has asked for."""
    return [
        Requested(Do(one), HANDLER, 3, "4Q", key=f"s-1.{number}") for number, one in enumerate(effects)
    ]


def write(path: Path, *effects: Any) -> EffectFile:
    """A file with these, as it is read again."""
    directory = Directory("home", os.open(path, os.O_RDONLY))
    with (path / "one").open("wb") as file:
        write_effects(file, requested(*effects), lambda key: f"p-{key}", "s")
    return read_effects(directory, "one")


def test_effects_come_back_with_what_is_needed_to_do_them(tmp_path: Path) -> None:
    """Their keys, their filter, their values."""
    found = write(tmp_path, Effect(1), Effect({"a": b"\xff"}))
    assert found.session == "s"
    assert [one.key for one in found.waiting] == ["p-s-1.0", "p-s-1.1"]
    first = found.effects[0]
    assert (first.kind, first.whose, first.filter, first.place) == ("Effect", "archive", None, 3)
    assert [found.load(number, find_class).effect for number in (0, 1)] == [
        Effect(1),
        Effect({"a": b"\xff"}),
    ]


def test_a_message_comes_back_as_it_was(tmp_path: Path) -> None:
    """Its bytes are in the file as they are, once; they are read until the effect is done."""
    found = write(tmp_path, Effect([MESSAGE, MESSAGE]), Effect(Message(sender="x")))
    assert (tmp_path / "one").read_bytes().startswith(bytes(MESSAGE) + b"\r\n{")
    loaded = found.load(0, find_class)
    message = loaded.effect.value[0]
    for got in loaded.effect.value:
        assert bytes(got) == bytes(MESSAGE)
        assert got.sender == "ann@example.org"
        assert got.sender_parameters == MESSAGE.sender_parameters
        assert got.recipients == MESSAGE.recipients
        assert got.fields == MESSAGE.fields
        assert got.size == MESSAGE.size
    loaded.release()
    with pytest.raises(Exception, match="this message has ended"):
        bytes(message)
    assert found.load(1, find_class).effect.value.sender == "x"


def test_a_message_without_its_body_comes_back_without(tmp_path: Path) -> None:
    """As the filter got it."""
    large = evolve(MESSAGE, content=Kept(30_000_000))
    message = write(tmp_path, Effect(large)).load(0, find_class).effect.value
    assert not message.is_whole
    assert (message.size, message.fields) == (large.size, large.fields)


def test_what_became_of_them_is_written_in_place(tmp_path: Path) -> None:
    """The rest of the file stays."""
    found = write(tmp_path, Effect(1), Effect(2))
    found.mark(0, DONE)
    assert [one.number for one in found.waiting] == [1]
    assert read_effects(found.directory, "one").marks == bytearray([WAITS, WAITS])
    found.write_mark(0)
    again = read_effects(found.directory, "one")
    assert [one.number for one in again.waiting] == [1]
    assert not again.has_failed
    assert again.load(1, find_class).effect == Effect(2)


def test_each_message_is_written_once(tmp_path: Path) -> None:
    """Though each effect holds it as an object of its own; one that was changed is another."""
    stock = Stock.of(b"body")
    message = evolve(MESSAGE, content=lend(stock))
    held = [evolve(message, content=hold(message.content)) for _ in range(3)]
    changed = held[2].with_sender("other@example.org")
    found = write(tmp_path, *[Effect([one]) for one in held[:2]], Effect([changed, held[2]]))
    assert (tmp_path / "one").read_bytes().count(b"body\r\n") == 0
    assert (tmp_path / "one").read_bytes().count(b"\r\n\r\nbody") == 2
    loaded = [found.load(number, find_class).effect.value for number in range(3)]
    assert [one.sender for group in loaded for one in group] == [
        *["ann@example.org"] * 2,
        *("other@example.org", "ann@example.org"),
    ]
    assert {bytes(one) for group in loaded for one in group} == {bytes(held[0])}


def test_a_file_is_read_once_while_it_is_in_hand(tmp_path: Path) -> None:
    """And of few files what was read stays in memory: the one that was used last goes last."""
    files = []
    for name in "abc":
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name, Effect(name)))
    in_hand = FilesInHand(2)
    for file in (files[0], files[1], files[0], files[2]):
        assert file.load(0, find_class).effect.value in "abc"
        in_hand.take(file)
    assert [file.described is None for file in files] == [False, True, False]
    in_hand.lay_down(files[0])
    assert files[0].described is None
    assert files[0].load(0, find_class).effect == Effect("a")
    (tmp_path / "a" / "one").unlink()
    assert files[0].load(0, find_class).effect == Effect("a")
    (tmp_path / "c" / "one").unlink()
    assert files[2].load(0, find_class).effect == Effect("c")
    in_hand.lay_down(files[2])
    with pytest.raises(FileNotFoundError):
        files[2].load(0, find_class)


def test_more_than_is_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is deferred then; else its effects would be lost."""
    monkeypatch.setattr(effect_files, "_LARGEST", 500)
    assert write(tmp_path, Effect("x")).load(0, find_class).effect == Effect("x")
    with pytest.raises(UnkeepableError, match="to take at most 500 bytes beside its body, got 7"):
        write(tmp_path, Effect("x" * 500))


def test_a_torn_file_is_none(tmp_path: Path) -> None:
    """Wherever it was torn, and whatever follows."""
    found = write(tmp_path, Effect("text"))
    path = tmp_path / "one"
    whole = path.read_bytes()
    for torn in (*(whole[:end] for end in range(len(whole))), whole + b"x", b"x" + whole):
        path.write_bytes(torn)
        with pytest.raises(UnreadableError, match="got a damaged one"):
            read_effects(found.directory, "one")


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    """Each byte but the marks is checked."""
    found = write(tmp_path, Effect("text"))
    path = tmp_path / "one"
    whole = path.read_bytes()
    for at in range(len(whole)):
        if at == found.marks_at:
            continue
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        with pytest.raises(UnreadableError):
            read_effects(found.directory, "one").load(0, find_class)


def described(path: Path, data: bytes) -> None:
    """A file with this description, and the right checksum."""
    trailer = effect_files._TRAILER.pack(0, len(data), zlib.crc32(data), 1, effect_files._MAGIC)
    path.write_bytes(data + b"." + trailer)


def kept_with(**changed: Any) -> bytes:
    """The description of one effect and one message, in which this is another one."""
    effect = {"key": "k", "kind": "K", "whose": "w", "filter": None, "place": 0, "effect": None}
    message = {"at": 0, "head": 0, "body": 0, "crc": 0}
    given = {"effects": [effect | changed], "messages": [message | changed], "session": "s"}
    return json.dumps(given).encode()


DESCRIPTIONS = [
    *[kept_with(place=one) for one in (math.inf, True, -1, "0")],
    *[kept_with(**{key: one}) for key in ("at", "head", "body") for one in (math.inf, "0", None, -1)],
    *(kept_with(whose={"base64": "?"}), kept_with(kind=5), kept_with(at=1)),
    *(b"[]", b"{", b"{}", b'{"effects": [], "messages": [], "session": 5}'),
    b'{"effects": [{}], "messages": [], "session": ""}',
    b'{"effects": [], "messages": [], "session": ""}',
    b'{"effects": 5, "messages": [], "session": ""}',
]


@pytest.mark.parametrize("data", DESCRIPTIONS)
def test_another_description_is_none(data: bytes, tmp_path: Path) -> None:
    """Though it has the right checksum."""
    found = write(tmp_path, Effect(1))
    described(tmp_path / "one", data)
    with pytest.raises(UnreadableError, match="got a damaged one"):
        read_effects(found.directory, "one")


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"effects": 5}'])
def test_a_description_that_another_has_written_meanwhile_is_none(data: bytes, tmp_path: Path) -> None:
    """The file is read again when its effect is done."""
    found = write(tmp_path, Effect(1))
    described(tmp_path / "one", data)
    found.lay_down()
    with pytest.raises(UnreadableError):
        found.load(0, find_class)


def test_a_message_whose_size_is_no_number_is_none(tmp_path: Path) -> None:
    """Whoever has written that meanwhile."""
    found = write(tmp_path, Effect(MESSAGE))
    assert found.described is not None
    found.described["messages"][0]["body"] = math.inf
    with pytest.raises(UnreadableError, match="OverflowError"):
        found.load(0, find_class)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_none(make: Any, tmp_path: Path) -> None:
    """Nobody waits until somebody writes to a pipe."""
    make(tmp_path / "one")
    with pytest.raises(UnreadableError, match="no regular file"):
        read_effects(Directory("home", os.open(tmp_path, os.O_RDONLY)), "one")


def test_a_damaged_body_fails_when_it_is_read(tmp_path: Path) -> None:
    """At its end: nobody keeps a mail that is another one."""
    message = write(tmp_path, Effect(MESSAGE)).load(0, find_class).effect.value
    path = tmp_path / "one"
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="expected the body of a message as it was kept"):
        bytes(message)


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    """Before anything is decided by it."""
    with (tmp_path / "one").open("wb") as file:
        for due in (requested(Effect(object())), [Requested(Request(), HANDLER, 0)]):
            with pytest.raises(UnkeepableError):
                write_effects(file, due, str, "s")


@pytest.mark.parametrize(
    "name", ["gone:Gone", "os:path", "demyjpy:Gone.Gone", "demyjpy", "demyjpy:do", ""]
)
def test_a_class_that_is_not_there_is_unknown(name: str) -> None:
    """Nothing is imported, and nothing else is a class."""
    with pytest.raises(UnknownClassError, match="got none"):
        find_class(name)
    assert find_class("demyjpy:Message") is Message
