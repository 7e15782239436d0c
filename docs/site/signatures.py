"""Signatures as their authors wrote them: with the names of types, not with what these stand for.

At run time an alias is what it stands for, and the default of a field is an expression of attrs. A
reader wants ``on_error: OnError = "tempfail"``, so signatures come from the source. Nothing is imported
here.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import attrs

_KEYWORD_ONLY: Final = "*"
Tree = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def tree_of(value: Any) -> Tree | None:
    """The definition of a function or class; None if it has no source, as what is made at run time."""
    try:
        source = textwrap.dedent(inspect.getsource(value))
        body = ast.parse(source).body
    except (OSError, TypeError, SyntaxError):
        return None
    return body[0] if len(body) == 1 and isinstance(body[0], Tree) else None


def _unquoted(annotation: ast.expr | None) -> str:
    """A type; quotes around one are for Python, not for readers."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation) if annotation else ""


def of_function(tree: ast.FunctionDef | ast.AsyncFunctionDef, *, is_method: bool) -> tuple[str, str]:
    """The arguments, in brackets, and the type of the result."""
    arguments = tree.args
    first = [*arguments.posonlyargs, *arguments.args][:1]
    if is_method and first:
        (arguments.posonlyargs or arguments.args).pop(0)
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if isinstance(one.annotation, ast.Constant):
            one.annotation = ast.Name(_unquoted(one.annotation))
    return f"({ast.unparse(arguments)})", _unquoted(tree.returns)


def _keywords(call: ast.expr | None) -> dict[str, ast.expr]:
    """What ``field(...)`` was called with."""
    if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("field"):
        return {one.arg: one.value for one in call.keywords if one.arg}
    return {} if call is None else {"default": call}


def _own_fields(value: type) -> dict[str, ast.AnnAssign]:
    """The declarations of fields by name, those of its bases, too."""
    found: dict[str, ast.AnnAssign] = {}
    for base in reversed(value.__mro__):
        tree = tree_of(base) if attrs.has(base) else None
        for node in tree.body if tree else ():
            if isinstance(node, ast.AnnAssign):
                found[ast.unparse(node.target)] = node
    return found


def of_attrs_class(value: type) -> str | None:
    """The arguments of a class that attrs made, in brackets; None if it is not for users to make one."""
    declared = _own_fields(value)
    shown: list[str] = []
    keyword_only: list[str] = []
    for one in attrs.fields(value):
        if not one.init:
            continue
        if one.name.startswith("_") or one.name not in declared:
            return None
        node = declared[one.name]
        given = _keywords(node.value)
        default = given.get("default", given.get("factory"))
        if default is None and one.default is not attrs.NOTHING:
            text = " = ..."  # a method decorated with @name.default
        elif default is None:
            text = ""
        else:
            text = f" = {ast.unparse(default)}" + ("()" if "factory" in given else "")
        part = f"{one.name}: {_unquoted(node.annotation)}{text}"
        (keyword_only if one.kw_only else shown).append(part)
    stars = [_KEYWORD_ONLY] if keyword_only else []
    return f"({', '.join([*shown, *stars, *keyword_only])})"


def signature_of(value: Any, *, is_method: bool = False) -> tuple[str, str] | None:
    """The arguments and the type of the result; None if the source does not say.

    `is_method`: the first argument is the object itself, and is left out.
    """
    if isinstance(value, type):
        if attrs.has(value) and "__init__" not in _written_methods(value):
            return (of_attrs_class(value) or "", "")
        written = vars(value).get("__init__")
        found = signature_of(written, is_method=True) if written is not None else None
        return (found[0], "") if found else None
    tree = tree_of(inspect.unwrap(value))
    if tree is None or isinstance(tree, ast.ClassDef):
        return None
    return of_function(tree, is_method=is_method and not _is_static(tree))


def _is_static(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(one) == "staticmethod" for one in tree.decorator_list)


def _written_methods(value: type) -> Iterator[str]:
    tree = tree_of(value)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef):
            yield node.name
