"""Sentences of Markdown pages, texts in Python files, and the phrases that neither may have.

What lives here: how a page is cut into sentences, how words are counted, the phrases. What must not:
which pages and commands are looked at (`tests.test_plain_english`). Nothing here knows grammar; each
rule is a regular expression that is seldom wrong.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

MOST_WORDS: Final = 25
"""Of a sentence; a few may be longer: see `too_many`."""

SHARE: Final = 0.05
FEWEST_WORDS: Final = 4
"""What is shorter ("yes", a name in a table) is no sentence: many of them excuse no long one."""

CODE: Final = "C0DE"
"""What stands for a code span: one word, whatever is in it."""

_FENCE: Final = re.compile(r"^ *(?P<fence>```+|~~~+|:::+).*?^ *(?P=fence) *$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE_SPAN: Final = re.compile(r"(?P<ticks>`+)(?P<code>.+?)(?P=ticks)", re.DOTALL)
_LINK: Final = re.compile(r"!?\[(?P<text>[^\]]*)\](?:\([^)\s]+\)|\[[^\]]*\])")
_DEFINITION: Final = re.compile(r"^\[[^\]]+\]: .*$", re.MULTILINE)
_MARK: Final = re.compile(r"^\s*(?:[-*+]|\d+[.)]|>)\s+")
_NAME: Final = r"(?:demyjpy|pip|pymilter|clamd|libmilter)\b"  # a sentence may begin with one
_END: Final = re.compile(rf"(?<=[.!?])[\"')*_]*\s+(?=[^\sa-z]|{_NAME})")
_ABBREVIATION: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|resp|no|sec)\.$", re.IGNORECASE)
_WORD: Final = re.compile(r"\w[^\s/]*")

_VERB: Final = (
    r"(?:is|are|was|were|has|have|had|does|do|did|can|cannot|could|would|will|may|must|takes|comes|needs|gives|says"
    r"|waits|makes|holds|knows|sends|reads|keeps|stays|works|runs|goes)"
)
_NONE: Final = "that|which|who|whom|what|when|if|as|how|example|instance"
_SUBJECT: Final = rf"(?!(?:{_NONE})\b)[\w'`.=-]+"
_MORE: Final = rf"(?!(?:{_NONE}|it|he|she|they|we|you|there|this)\b)[\w'`.=-]+"

PHRASES: Final = {
    "comes to": r"\b(?:come|comes|came|coming) to\b",
    "is told": r"\b(?:is|are|was|were|be|been|being|not|as) told\b(?! apart)|\bwhat (?:\w+ )?told\b",
    "minds": r"\bminds\b|\b(?:does|do|did) not mind\b|\bnever mind\b",
    "of what there is": r"\bof what there\b|\bwhat there is\b",
    "so long": r"\bso long\b",
    "alike": r"\balike\b",
    "for (because)": rf"[,;:] for {_SUBJECT}(?: {_MORE}){{0,2}} {_VERB}\b",
    "where there is none": r"\bwhere (?:(?:it|there) (?:is|are|was|were) )?(?:none|no|nothing)\b",
}
"""Section 6 of the house plan: the words that keep a reader with English as a second language out."""

_PHRASES: Final = {name: re.compile(phrase, re.IGNORECASE) for name, phrase in PHRASES.items()}


@frozen
class Page:
    """The sentences of a page: of its paragraphs and lists, and of the cells of its tables."""

    prose: tuple[str, ...]
    cells: tuple[str, ...]


def words(sentence: str) -> int:
    """How many words it has; a code span is one, what has no letter and no digit is none."""
    return len(_WORD.findall(sentence))


def split_sentences(text: str) -> Iterator[str]:
    """A paragraph's sentences: each ends at ``.``, ``!`` or ``?`` if no word in lower case follows.

    A colon or a semicolon ends none, so what it joins is counted as one.
    """
    begun = ""
    for part in _END.split(" ".join(text.split())):
        begun = f"{begun} {part}" if begun else part
        if not _ABBREVIATION.search(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


def _plain(markdown: str) -> str:
    """Without code, comments, targets of links and the marks of emphasis."""
    text = _DEFINITION.sub("", _COMMENT.sub("", _FENCE.sub("\n", markdown)))
    text = _LINK.sub(lambda found: found["text"], _CODE_SPAN.sub(CODE, text))
    return text.replace("**", "").replace(" _", " ").replace("_ ", " ")


def read_page(markdown: str) -> Page:
    """A page's sentences. Headings and code blocks are none."""
    prose: list[str] = []
    cells: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        prose.extend(split_sentences(" ".join(paragraph)))
        paragraph.clear()

    for line in _plain(markdown).splitlines():
        if line.lstrip().startswith("|"):
            end()
            cells.extend(one for cell in line.split("|") for one in split_sentences(cell))
        elif not line.strip() or line.startswith("#"):
            end()
        else:
            if _MARK.match(line):
                end()
            paragraph.append(_MARK.sub("", line))
    end()
    return Page(_sentences(prose), _sentences(cells))


def _sentences(texts: list[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if words(text) >= FEWEST_WORDS)


def too_many(sentences: tuple[str, ...]) -> list[str]:
    """The long ones, if they are more than one and more than a twentieth of all; else none."""
    long = [f"{words(one)} words: {one}" for one in sentences if words(one) > MOST_WORDS]
    return long if len(long) > max(1, SHARE * len(sentences)) else []


def long_sentences(markdown: str) -> list[str]:
    """What is too long on a page. Cells of tables are a kind of their own: they excuse no prose."""
    page = read_page(markdown)
    return [*too_many(page.prose), *too_many(page.cells)]


def banned(text: str) -> list[str]:
    """The phrases that a text has, each with a few words around it."""
    flat = " ".join(text.split())
    return [
        f"{name}: ...{flat[max(0, found.start() - 30) : found.end() + 30]}..."
        for name, phrase in _PHRASES.items()
        for found in phrase.finditer(flat)
    ]


def banned_on_page(markdown: str) -> list[str]:
    """The phrases of a page: in headings, prose and tables, but not in code."""
    return banned(_plain(markdown))


def text_constants(tree: ast.AST) -> Iterator[tuple[ast.Constant | ast.JoinedStr, str]]:
    """Each text in a file of Python with its node: docstrings, messages, f-strings as a whole."""
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [part.value if isinstance(part, ast.Constant) else CODE for part in node.values]
            parts.update(ast.walk(node))
            yield node, "".join(str(text) for text in texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node, node.value
