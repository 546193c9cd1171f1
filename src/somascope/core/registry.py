"""Find what is published under Somascope's entry points, ours and other people's alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from somascope.core.acquisition import Scan
from somascope.core.errors import CorruptFile, NotFound
from somascope.core.operations import Operation

OPERATIONS = "somascope.operations"
OPERATORS = "somascope.operators"
READERS = "somascope.readers"


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {p.name: p for p in sorted(entry_points(group=group), key=lambda p: p.name)}


def operation_names() -> list[str]:
    """Names of all installed operations; imports nothing."""
    return list(_points(OPERATIONS))


@cache
def get_operation(name: str) -> Operation:
    """The operation of that name; imports its module now."""
    points = _points(OPERATIONS)
    if name not in points:
        near = [n for n in points if name.rsplit(".", maxsplit=1)[-1] in n] or list(points)
        raise NotFound(f"no operation {name!r}; there is {', '.join(near[:12])}")
    function: Any = points[name].load()
    found: Operation = function.operation
    return found


def build_operator(kind: str, description: Mapping[str, Any]) -> Scan:
    """The acquisition operator of that kind, made from what its ``describe()`` gave.

    Raises
    ------
    NotFound
        No installed package publishes the kind.
    CorruptFile
        The description does not fit it.
    """
    points = _points(OPERATORS)
    if kind not in points:
        raise NotFound(f"no acquisition operator {kind!r}; there is {', '.join(points) or 'none'}")
    made: Any = points[kind].load()
    try:
        operator: Scan = made(**description)
    except TypeError as error:
        raise CorruptFile(
            f"the description of a {kind} operator does not fit it: {error}"
        ) from error
    return operator


def readers() -> dict[str, EntryPoint]:
    """Installed readers by name; load the entry point to get the reader."""
    return dict(_points(READERS))
