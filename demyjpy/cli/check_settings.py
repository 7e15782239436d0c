"""What a filter was made of, for `demyjpy check`: each setting, its value, and where that comes from."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from demyjpy.cli.loading import Loaded
from demyjpy.settings.annotations import noun_of, show
from demyjpy.settings.key_lines import Place
from demyjpy.settings.signatures import is_secret, show_default, spell_key

_MOST: Final = 5


@frozen
class SettingEntry:
    """One setting of a filter. ``value`` is in words; that of a secret is not shown.

    ``origin`` is a file with a line, or ``default``.
    """

    table: str
    name: str
    kind: str
    value: str
    origin: str


def settings_of(loaded: Loaded) -> Iterator[SettingEntry]:
    """All settings of a filter, in the order of its functions' signatures."""
    for one in loaded.made:
        table, schema = one.table, one.schema
        kinds = {known.name: known.kind for known in schema.settings}
        for name, value in one.values.items():
            kind = kinds.get(name, schema.others)
            origin = "default"
            if table.file is not None and name in table.values:
                origin = table.file.where(table.name, name)
            spelled = kind.spelled if kind else ""
            yield SettingEntry(table.name, name, spelled, _shown((name,), value), origin)


def _shown(place: Place, value: Any) -> str:
    if is_secret(place):
        return f"{noun_of(value)} (not shown)"
    if isinstance(value, Mapping):
        return f"a table of {len(value)}"
    if isinstance(value, list | tuple | set | frozenset):
        first = [show(one) for one in list(value)[:_MOST]]
        more = ["..."] if len(value) > _MOST else []
        return f"[{', '.join([*first, *more])}]"
    return show_default(value)


def setting_rows(entries: tuple[SettingEntry, ...]) -> Iterator[tuple[str, ...]]:
    """The same, to be put into columns."""
    for one in entries:
        yield f"[{one.table}]", spell_key(one.name), one.value, one.kind, one.origin
