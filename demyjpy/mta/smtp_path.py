"""What stands behind ``MAIL FROM:`` and ``RCPT TO:``: a path and ESMTP parameters. Text only."""

import re
from typing import Final

from demyjpy.events import strip_brackets
from demyjpy.wire.fields import Parameters

_PATH: Final = re.compile(r'(<(?:"(?:[^"\\]|\\.)*"|[^<>"])*>|[^\s<>]+)(?:\s+(.*))?', re.DOTALL)


def split_path(text: str) -> tuple[str, str, Parameters] | None:
    """``<a@b> KEY=value`` as the path as given, the address without brackets, and the parameters.

    None for what is no path.
    """
    found = _PATH.fullmatch(text.strip())
    if found is None:
        return None
    return found[1], strip_brackets(found[1]), Parameters.parse((found[2] or "").split())
