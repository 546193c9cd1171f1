"""A chain of operations on frames: what is allowed in it, and each step's time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from somascope.core import Image, Operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.registry import get_operation, operation_names

MOST_STEPS = 8
MOST_PIXELS = 1024 * 1024
"""Of one frame, at every stage."""
FIRST = "process."
"""Operations that turn images into images begin with this."""


@dataclass(frozen=True)
class Step:
    """An operation with its validated parameters."""

    operation: Operation
    params: Mapping[str, Any]


def names() -> list[str]:
    """Operations that a chain may hold: one image in, one image out."""
    return [n for n in operation_names() if n.startswith(FIRST) and _fits(get_operation(n))]


def _fits(operation: Operation) -> bool:
    return [noun for _, noun in operation.inputs] == ["Image"] and operation.output == "Image"


def parse(items: Any) -> tuple[Step, ...]:
    """The steps of ``[{"operation": name, "params": {...}}, ...]``.

    Raises
    ------
    ParameterError
        Another form, too many steps, an operation that does not fit, or a wrong parameter.
    NotFound
        No such operation.
    """
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)):
        raise ParameterError("a chain is a list of {operation, params}")
    if len(items) > MOST_STEPS:
        raise ParameterError(f"a chain of {len(items)} steps; at most {MOST_STEPS} are run live")
    steps: list[Step] = []
    for item in items:
        name = item.get("operation") if isinstance(item, Mapping) else None
        params = item.get("params", {}) if isinstance(item, Mapping) else None
        if not isinstance(name, str) or not isinstance(params, Mapping):
            raise ParameterError("each step of a chain is {operation: name, params: {...}}")
        if not name.startswith(FIRST):
            raise ParameterError(f"{name[:60]!r} is no operation on frames; they begin {FIRST}")
        operation = get_operation(name)
        if not _fits(operation):
            raise ParameterError(f"{name} does not make one image of one image")
        steps.append(Step(operation, operation.validate(params)))
    return tuple(steps)


def run(image: Image, steps: Sequence[Step], stages: dict[str, float]) -> Image:
    """The frame after all steps; their milliseconds go into ``stages``, in order."""
    for number, step in enumerate(steps):
        began = time.perf_counter()
        image = step.operation.function(image, **step.params)
        small(image, step.operation.name)
        name = step.operation.name.removeprefix(FIRST)
        key = name if name not in stages else f"{name} {number + 1}"
        stages[key] = (time.perf_counter() - began) * 1e3
    return image


def small(image: Image, what: str) -> None:
    """Refuse frames that are no picture of bounded size."""
    pixels = image.grid.shape[1] * image.grid.shape[2]
    if image.grid.shape[0] != 1 or pixels > MOST_PIXELS:
        raise GeometryError(
            f"{what} gives frames of {image.grid.shape}; live frames are planes of at most "
            f"{MOST_PIXELS} pixels"
        )
