"""Running Sphinx: pages and man pages from the same source, every warning an error, nothing fetched."""

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Final

from docs.site.broken_links import broken, outside
from docs.site.sections import INDEX, problems
from docs.site.staging import ROOT, markdown_pages, stage

BUILDERS: Final = ("html", "man")
_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")


def build(output: Path, builder: str, jobs: int = 1) -> str:
    """Build the staged pages by one of Sphinx's builders; the warnings, "" if there are none."""
    # Sphinx takes a while to import, and not all that imports this module builds something
    from sphinx.application import Sphinx  # noqa: PLC0415  # slow to import
    from sphinx.util.docutils import docutils_namespace, patch_docutils  # noqa: PLC0415  # slow to import

    told = StringIO()
    with patch_docutils(str(ROOT / "docs")), docutils_namespace(), warnings.catch_warnings():
        for kind in (DeprecationWarning, PendingDeprecationWarning):  # what its parts use of one another
            warnings.simplefilter("ignore", kind)
        Sphinx(
            srcdir=output / "source",
            confdir=ROOT / "docs",
            outdir=output / builder,
            doctreedir=output / "doctrees",
            buildername=builder,
            status=None,
            warning=told,
            parallel=jobs,
        ).build()
    return _COLOUR.sub("", told.getvalue()).replace(f"{ROOT}/", "")


def build_site(output: Path, builders: Sequence[str] = BUILDERS, jobs: int = 1) -> list[str]:
    """Build all of it into ``output/html`` and ``output/man``; what is wrong with it, a line each."""
    index = (ROOT / INDEX).read_text(encoding="utf-8")
    found = problems(index, markdown_pages())
    if found:
        return found
    stage(output / "source")
    for builder in builders:
        found += build(output, builder, jobs).splitlines()
    return [*dict.fromkeys(found), *broken(output / "html")]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m docs.site``: 0; 1 if there is a warning or a broken link, each on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.site",
        description="Build the documentation: OUTPUT/html/index.html, and man pages in OUTPUT/man.",
    )
    parser.add_argument(
        "output", metavar="OUTPUT", type=Path, help="a directory; made if it is not there"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--outside", action="store_true", help="list the links that lead elsewhere")
    given = parser.parse_args(arguments)
    found = build_site(given.output.resolve(), jobs=given.jobs)
    for line in found:
        print(line, file=sys.stderr)
    if given.outside:
        print(*outside(given.output / "html"), sep="\n")
    print(f"{given.output / 'html/index.html'}: {len(found) or 'no'} warnings")
    return 1 if found else 0
