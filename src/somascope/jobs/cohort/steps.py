"""What a cohort is put through: one operation, or several that take each other's results."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from somascope.core.errors import CorruptFile, NotFound, ParameterError
from somascope.core.registry import get_operation

IMAGE, MASK = "image", "mask"
"""Inputs that every case has: its series, and the Segmentation of it that was stored last."""

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+(?:#\d+)?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Step:
    """One operation on each case.

    Parameters
    ----------
    name
        By which later steps take its result: ``name`` the first series it made, ``name:2`` the
        second.
    inputs
        ``image``, ``mask``, the name of an earlier step, or a UID that is the same for all cases
        (a template).
    """

    name: str
    operation: str
    inputs: tuple[str, ...] = (IMAGE,)
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def needs(self) -> list[str]:
        """Names of the steps whose results it takes."""
        fixed = (IMAGE, MASK)
        return [i.partition(":")[0] for i in self.inputs if i not in fixed and not _is_uid(i)]


def _is_uid(text: str) -> bool:
    return _UID.fullmatch(text) is not None


def checked(steps: Sequence[Step]) -> list[Step]:
    """The steps, with complete parameters.

    Raises
    ------
    ParameterError
        No step, two of one name, an input that no earlier step makes, parameters outside their
        declaration, or a wrong number of inputs.
    NotFound
        No such operation.
    """
    from dataclasses import replace

    from somascope.jobs.resolve import nouns_of

    if not steps:
        raise ParameterError("a pipeline needs a step")
    made: list[Step] = []
    for step in steps:
        names = [s.name for s in made]
        if step.name in (*names, IMAGE, MASK) or not _NAME.fullmatch(step.name):
            raise ParameterError(
                f"a step is named {step.name!r}; give each a name of its own of letters and "
                f"digits, and not {IMAGE} or {MASK}"
            )
        found = get_operation(step.operation)
        nouns_of(found, len(step.inputs))
        for need in step.needs():
            if need not in names:
                raise ParameterError(
                    f"step {step.name}: input {need!r} is neither {IMAGE}, {MASK}, a UID nor an "
                    f"earlier step ({', '.join(names) or 'there is none'})"
                )
        made.append(replace(step, params=found.validate(step.params)))
    return made


def pipeline(path: str | Path) -> list[Step]:
    """Read steps from a TOML (``[[step]]`` tables) or JSON file (a list, or ``{"step": [...]}``).

    ::

        [[step]]
        name = "lesion"
        operation = "segment.threshold"
        params = { lower = 300.0 }

        [[step]]
        name = "features"
        operation = "analyze.radiomics"
        inputs = ["image", "lesion"]

    Raises
    ------
    NotFound
        There is no such file.
    CorruptFile
        It is neither, or a step holds something unknown.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"there is no pipeline {str(path)!r}")
    try:
        text = path.read_text(encoding="utf-8")
        found: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path.name} is neither TOML nor JSON ({error})") from error
    listed = found.get("step") if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(s, dict) for s in listed):
        raise CorruptFile(f"{path.name} holds no list of steps; write [[step]] tables")
    steps: list[Step] = []
    for number, record in enumerate(listed, 1):
        strange = sorted(set(record) - {"name", "operation", "inputs", "params"})
        if strange or not isinstance(record.get("operation"), str):
            raise CorruptFile(
                f"{path.name}: step {number} has {strange[0] if strange else 'no operation'!r}; it "
                "holds operation, and where wanted name, inputs and params"
            )
        inputs, params = record.get("inputs", [IMAGE]), record.get("params", {})
        if not isinstance(inputs, list) or not isinstance(params, dict):
            raise CorruptFile(
                f"{path.name}: step {number}: inputs is a list of names and params a table"
            )
        name = str(record.get("name") or f"step{number}")
        steps.append(Step(name, record["operation"], tuple(map(str, inputs)), params))
    return checked(steps)
