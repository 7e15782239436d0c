"""How text from anywhere is shown: on one line, harmless for a terminal. Text only."""


def safe(text: str) -> str:
    """Text on one line: what is not printable is escaped, and bytes that are no UTF-8.

    Not printable are control characters (C0 and C1), what changes the direction of writing, line and
    paragraph separators, and what Unicode has not assigned; a tab stays.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\t" else _escape(one) for one in text)


def _escape(one: str) -> str:
    if "\udc80" <= one <= "\udcff":
        return f"\\x{ord(one) - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")
