"""What this site adds to Sphinx: how a name in a docstring finds its entry. Sphinx calls `setup`.

Docstrings name things in single backticks as readers of the source know them: `Accept`,
`demyjpy.engine.plan`. Those with an entry become links to it, the others stay code.
"""

import importlib
from functools import cache
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx.util.nodes import make_refnode

from docs.site.api_pages import public_names
from docs.site.signatures import signature_of
from docs.site.staging import PUBLIC_NAMES, ROOT

_LOG: Final = logging.getLogger(__name__)


def is_there(name: str) -> bool:
    """True if a dotted name leads to a module, or to something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            fields = getattr(value, "__annotations__", {})
            if not hasattr(value, part) and part not in fields:
                return False
            value = getattr(value, part, None)
        return True
    return False


def find_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """The entry of a type that Sphinx did not find, if only one has the last part of its name."""
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    objects = env.domains.python_domain.objects
    suffix = "." + target.removeprefix("~").rpartition(".")[2]
    found = {
        (entry.docname, entry.node_id)
        for name, entry in objects.items()
        if name.endswith(suffix) and entry.objtype in ("class", "exception", "type")
    }
    if len(found) != 1:
        return None
    ((docname, node_id),) = found
    return make_refnode(app.builder, node["refdoc"], docname, node_id, contnode, target)


class NameRole(SphinxRole):
    """A name in single backticks: a link if it is public, else code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The nodes for the name."""
        name = self.text.removeprefix("~").removesuffix("()")
        code = nodes.literal(self.rawtext, self.text, classes=["xref", "py"])
        if name.startswith("demyjpy.") and not is_there(name):
            _LOG.warning("a docstring names %s, which is not there", name, location=self.get_location())
        last = name.rpartition(".")[2] if name.startswith("demyjpy.") else name
        full = public().get(name, public().get(last))
        if full is None:
            return [code], []
        xref = pending_xref(
            self.rawtext,
            code,
            refdomain="py",
            reftype="obj",
            reftarget=full,
            refdoc=self.env.docname,
            refexplicit=True,
        )
        return [xref], []


@cache
def public() -> dict[str, str]:
    """The public names by themselves, and by their last part: then the first one of several."""
    listed = (ROOT / PUBLIC_NAMES).read_text(encoding="utf-8").split()
    names = [name.full for name in public_names(listed)]
    return {full.rpartition(".")[2]: full for full in reversed(names)} | {full: full for full in names}


def written_signature(
    app: Sphinx,
    what: str,
    name: str,
    value: Any,
    options: object,
    arguments: str | None,
    result: str | None,
) -> tuple[str, str] | None:
    """What autodoc is to write instead of the signature that Python has at run time."""
    if what not in ("class", "exception", "function", "method") or arguments is None:
        return None
    return signature_of(value, is_method=what == "method")


def setup(app: Sphinx) -> dict[str, Any]:
    """Take this part on."""
    app.add_role("name", NameRole())
    app.connect("missing-reference", find_name)
    app.connect("autodoc-process-signature", written_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
