"""What the installed operations are called and do, read from their source: nothing is imported.

Importing all of them loads every numerical library there is, for one line of text each.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from somascope.core.registry import OPERATIONS, get_operation, operation_names

_TOP = re.compile(r"^[^\s)#]", re.MULTILINE)


def summaries() -> dict[str, str]:
    """Summary of each installed operation by name, in the order of the names."""
    points = {p.name: p for p in entry_points(group=OPERATIONS)}
    found: dict[str, str] = {}
    for name in operation_names():
        text = _docstring(points[name].module, points[name].attr)
        # A published object that is no plain function in its file: ask the operation itself.
        found[name] = get_operation(name).summary if text is None else _first(text)
    return found


def _first(docstring: str) -> str:
    return docstring.split("\n\n", maxsplit=1)[0].replace("\n", " ")


def _docstring(module: str, function: str) -> str | None:
    """That of a function at the top level of a module; only this function is parsed."""
    text = _source(module)
    begin = text.find(f"\ndef {function}(") + 1
    if not begin:
        return None
    # It ends at the next line that is not indented (the line that closes the signature is not).
    end = _TOP.search(text, text.index("\n", begin))
    try:
        node = ast.parse(text[begin : end.start() if end else len(text)]).body[0]
    except (SyntaxError, ValueError):
        return None
    return ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None


@cache
def _source(module: str) -> str:
    path = _file(module)
    try:
        return path.read_text(encoding="utf-8") if path is not None else ""
    except (OSError, ValueError):
        return ""


def _file(module: str) -> Path | None:
    """The source of a module, found without running the packages above it."""
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *below)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None
