"""Several operations on one image, one after the other: parsed, said as text, run as one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

from somascope.core import QUIET, Image, Operation, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.registry import get_operation, operation_names

NAME = "process.chain"
FIRST = "process."
"""Operations that turn images into images begin with this."""
MOST_STEPS = 8


@dataclass(frozen=True)
class ChainStep:
    """An operation with its validated parameters."""

    operation: Operation
    params: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Without ``process.``."""
        return self.operation.name.removeprefix(FIRST)


def names() -> list[str]:
    """Operations that a chain may hold: one image in, one image out."""
    return [n for n in operation_names() if n.startswith(FIRST) and _fits(n, get_operation(n))]


def _fits(name: str, found: Operation) -> bool:
    nouns = [noun for _, noun in found.inputs]
    return name != NAME and nouns == ["Image"] and found.output == "Image"


def parse(items: Any) -> tuple[ChainStep, ...]:
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
    given = cast("Sequence[Any]", items)
    if len(given) > MOST_STEPS:
        raise ParameterError(f"a chain of {len(given)} steps; it may have at most {MOST_STEPS}")
    steps: list[ChainStep] = []
    for item in given:
        record = cast("Mapping[str, Any]", item) if isinstance(item, Mapping) else {}
        name, params = record.get("operation"), record.get("params", {})
        if not isinstance(name, str) or not isinstance(params, Mapping):
            raise ParameterError("each step of a chain is {operation: name, params: {...}}")
        found = _operation(name)
        steps.append(ChainStep(found, found.validate(cast("Mapping[str, Any]", params))))
    return tuple(steps)


def _operation(name: str) -> Operation:
    if not name.startswith(FIRST):
        raise ParameterError(f"{name[:60]!r} is no operation on images; they begin {FIRST}")
    found = get_operation(name)
    if not _fits(name, found):
        raise ParameterError(f"{name} does not make one image of one image")
    return found


def read(text: str) -> tuple[ChainStep, ...]:
    """The steps of ``gaussian sigma=2 | clahe clip_limit=3 tile=none``.

    Values are written as on the command line; what is left out has its default. Raises as `parse`.
    """
    items: list[dict[str, Any]] = []
    for part in text.split("|"):
        try:
            words = shlex.split(part)
        except ValueError as error:
            raise ParameterError(f"{NAME}: {part.strip()[:60]!r} cannot be read: {error}") from None
        if not words:
            continue
        name = words[0] if words[0].startswith(FIRST) else FIRST + words[0]
        found = _operation(name)
        known = {p.name: p for p in found.parameters}
        params: dict[str, Any] = {}
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals or key not in known:
                raise ParameterError(
                    f"{NAME}: {word[:60]!r} is no parameter of {name}; write NAME=VALUE with one "
                    f"of {', '.join(known) or 'none'}"
                )
            params[key] = known[key].parse(name, value)
        items.append({"operation": name, "params": params})
    return parse(items)


def say(steps: Sequence[ChainStep]) -> str:
    """The text that `read` takes, with the parameters that differ from their defaults."""
    parts: list[str] = []
    for step in steps:
        defaults = {p.name: p.default for p in step.operation.parameters if not p.required}
        words = [step.name]
        for key, value in step.params.items():
            if key in defaults and defaults[key] == value:
                continue
            words.append(shlex.quote(f"{key}={_word(value)}"))
        parts.append(" ".join(words))
    return " | ".join(parts)


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_word(v) for v in cast("Sequence[Any]", value))
    return repr(value) if isinstance(value, float) else str(value)


@operation("process.chain")
def chain(
    image: Image,
    *,
    steps: Annotated[
        str,
        Param("Operations in their order, as in: gaussian sigma=2 | clahe clip_limit=3"),
    ] = "",
    progress: Progress = QUIET,
) -> Image:
    """Run several operations one after the other and record them as one.

    Each operation named ``process.`` that makes one image of one image can be a step (`names`).
    Shape and unit are those of the last step's result; without steps the image is copied.
    """
    found = read(steps)
    result = image.with_data(image.data.copy())
    for number, step in enumerate(found):
        low, span = number / len(found), 1 / len(found)
        part = Progress(
            lambda f, m, a=low, s=span, n=step.name: progress(a + s * f, f"{n} {m}".rstrip())
        )
        result = step.operation(result, progress=part, **step.params)
    progress(1.0, "chain")
    # One step in the history says them all; running it again runs them all.
    return replace(result, provenance=image.provenance)
