"""`check_operation`: does it keep the promises of an operation in all five doors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from somascope.core import (
    Acquisition,
    Box,
    Grid,
    Image,
    Label,
    Mask,
    Measurement,
    Operation,
    Progress,
    Provenance,
    Scan,
    Segment,
    Source,
    Warp,
)
from somascope.core.errors import Cancelled, ParameterError
from somascope.core.grid import Array
from somascope.core.operations import NOUNS
from somascope.core.registry import get_operation

Noun: TypeAlias = Image | Mask | Acquisition | Label | Box | Measurement

NAME = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9_]*)+")


def check_operation(
    operation: str | Operation | Callable[..., Any],
    *,
    params: Mapping[str, Any] | None = None,
    inputs: tuple[Noun, ...] | None = None,
) -> None:
    """Hold an operation to its contract.

    Parameters
    ----------
    operation
        A registered name, an `Operation`, or a function decorated with `@operation`.
    params
        What it needs beyond its defaults to run.
    inputs
        What it is run on; default a small phantom for each declared `Image` or `Mask`. An
        `Acquisition` or a finding has to be given.

    Raises
    ------
    AssertionError
        Naming the promise: name, documentation, units, JSON schema, defaults inside their own
        declaration, unknown parameters refused, repeatable, inputs left alone, nouns out, grid
        consistent, one provenance step with all parameters, progress and cancel.
    """
    found = _operation(operation)
    given = dict(params or {})
    _documented(found)
    _schema(found)
    _validates(found, given)
    nouns = inputs if inputs is not None else tuple(_phantom(t) for _, t in found.inputs)
    first = _run(found, nouns, given)
    _recorded(found, first, nouns, given)
    _repeatable(found, first, _run(found, nouns, given))
    if found.takes_progress:
        _reports(found, nouns, given)


def _operation(operation: str | Operation | Callable[..., Any]) -> Operation:
    if isinstance(operation, Operation):
        return operation
    if isinstance(operation, str):
        found = get_operation(operation)
        assert found.name == operation, (
            f"the entry point {operation!r} leads to an operation named {found.name!r}"
        )
        return found
    found = getattr(operation, "operation", None)
    assert isinstance(found, Operation), (
        f"{getattr(operation, '__name__', operation)!r} is not decorated with @operation"
    )
    return found


def _documented(found: Operation) -> None:
    assert NAME.fullmatch(found.name), (
        f"name {found.name!r} is not dotted lower case with the verb first, like process.gaussian"
    )
    assert found.summary not in ("", found.name), f"{found.name} has no docstring"
    for p in found.parameters:
        assert p.param.help, f"{found.name}: parameter {p.name!r} has no help text"
        assert p.name == p.name.lower(), f"{found.name}: parameter {p.name!r} is not lower case"
    assert found.inputs, f"{found.name} takes no input"


def _schema(found: Operation) -> None:
    schema = found.schema()
    text = json.dumps(schema, allow_nan=False)
    assert json.loads(text) == schema, f"{found.name}: the schema changes on its way through JSON"
    known = {"number", "integer", "boolean", "string", "array", "null"}
    for name, one in schema["params"]["properties"].items():
        kinds = one["type"] if isinstance(one["type"], list) else [one["type"]]
        assert set(kinds) <= known, f"{found.name}: parameter {name!r} has type {kinds}"
        if "enum" in one and "default" in one:
            assert one["default"] in one["enum"], (
                f"{found.name}: the default of {name!r} is not one of its choices"
            )


def _validates(found: Operation, given: Mapping[str, Any]) -> None:
    for p in found.parameters:
        if p.required:
            assert p.name in given, (
                f"{found.name} needs {p.name!r}; give it to check_operation in params"
            )
            continue
        try:
            kept = p.validate(found.name, p.default)
        except ParameterError as error:
            raise AssertionError(f"the default of {p.name!r} is refused: {error}") from error
        assert kept == p.default, f"{found.name}: the default of {p.name!r} becomes {kept!r}"
    complete = found.validate(given)
    through_json = found.validate(json.loads(json.dumps(complete)))
    assert through_json == complete, (
        f"{found.name}: parameters change on their way through JSON: {complete} to {through_json}"
    )
    try:
        found.validate({**given, "no_such_parameter": 1})
    except ParameterError:
        return
    raise AssertionError(f"{found.name} accepts a parameter it does not have")


def _phantom(noun: str) -> Image | Mask:
    """An oblique volume of smooth blobs with noise, 12 x 20 x 24 voxels; or two of its blobs."""
    shape = (12, 20, 24)
    a = 0.2
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing(
        shape, (2.0, 0.8, 1.1), origin=(-10.0, 5.0, 40.0), direction=direction,
        frame_of_reference="1.2.826.0.1.3680043.8.498.1",
    )  # fmt: skip
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    one = np.exp(-8 * ((x - 0.3) ** 2 + y**2 + z**2))
    two = np.exp(-12 * ((x + 0.4) ** 2 + (y - 0.2) ** 2 + z**2))
    provenance = Provenance((Source("phantom", "blobs"),))
    wanted = noun.removesuffix("[]").split("|")
    if "Image" in wanted:
        noise = np.random.default_rng(7).normal(scale=12.0, size=shape)
        values = (900 * one + 500 * two + noise - 100).astype(np.int16)
        return Image(values, grid, "CT", "[hnsf'U]", provenance=provenance)
    assert "Mask" in wanted, f"no phantom for an input of type {noun}; give inputs"
    labels = np.where(one > 0.5, 1, np.where(two > 0.5, 2, 0)).astype(np.uint8)
    return Mask(
        data=labels, grid=grid, segments=(Segment(1, "one"), Segment(2, "two")),
        provenance=provenance,
    )  # fmt: skip


def _run(found: Operation, nouns: tuple[Noun, ...], given: Mapping[str, Any]) -> list[Any]:
    before = [_state(n) for n in nouns]
    result = found(*nouns, **given)
    for (name, _), noun, old in zip(found.inputs, nouns, before, strict=False):
        assert _state(noun) == old, f"{found.name} changes its input {name!r}"
    results = list(result) if isinstance(result, (list, tuple)) else [result]
    assert results, f"{found.name} returns nothing"
    for one in results:
        assert isinstance(one, NOUNS), (
            f"{found.name} returns a {type(one).__name__}; give an Image, Mask or another noun"
        )
        if isinstance(one, (Image, Mask, Acquisition)):
            data = _values(one)
            arrays = [n for n in nouns if isinstance(n, (Image, Mask, Acquisition))]
            for noun in arrays:
                assert not np.may_share_memory(data, _values(noun)) or np.array_equal(
                    data, _values(noun)
                ), f"{found.name} returns a view into its input"
            frame = _grid(arrays[0]).frame_of_reference if arrays else ""
            assert not arrays or _grid(one).frame_of_reference == frame, (
                f"{found.name} loses the frame of reference: {_grid(one).frame_of_reference!r} is "
                f"not {frame!r}"
            )
    return results


def _values(noun: Image | Mask | Acquisition) -> Array:
    return noun.samples if isinstance(noun, Acquisition) else noun.data


def _grid(noun: Image | Mask | Acquisition) -> Grid:
    if not isinstance(noun, Acquisition):
        return noun.grid
    assert isinstance(noun.operator, Scan), (
        f"the operator {type(noun.operator).__name__} is no Scan: it lacks kind, grid or describe"
    )
    return noun.operator.grid


def _state(noun: Noun) -> tuple[Any, ...]:
    if not isinstance(noun, (Image, Mask, Acquisition)):
        return (repr(noun),)
    values = _values(noun)
    facts: tuple[Any, ...] = (_grid(noun), noun.provenance, dict(noun.attributes))
    return (values.tobytes(), values.dtype, values.shape, *facts)


def _recorded(
    found: Operation,
    results: list[Any],
    nouns: tuple[Noun, ...],
    given: Mapping[str, Any],
) -> None:
    complete = found.validate(given)
    earlier = nouns[0].provenance.steps
    for one in results:
        steps = one.provenance.steps
        assert (len(steps), steps[:-1]) == (len(earlier) + 1, earlier), (
            f"{found.name} leaves {len(steps)} provenance steps after {len(earlier)}; it must add "
            "one (the decorator does) and keep the earlier ones"
        )
        step = steps[-1]
        assert step.operation == found.name, f"the step is named {step.operation!r}"
        assert found.validate(step.params) == complete, (
            f"{found.name}: the step records {dict(step.params)}, it ran with {complete}"
        )
        assert set(nouns[0].provenance.sources) <= set(one.provenance.sources), (
            f"{found.name} loses the sources of its input"
        )
        again = Provenance.from_json(one.provenance.to_json())
        assert json.loads(again.to_json()) == json.loads(one.provenance.to_json())


def _repeatable(found: Operation, first: list[Any], second: list[Any]) -> None:
    assert len(first) == len(second), f"{found.name} returns another number of results"
    for a, b in zip(first, second, strict=True):
        if isinstance(a, (Image, Mask, Acquisition)):
            assert _same(_values(a), _values(b)), (
                f"{found.name} gives other values the second time; make its randomness a seed "
                "parameter"
            )
        elif isinstance(a, Warp):
            one, two = (w.matrix if w.displacement is None else w.displacement for w in (a, b))
            same = _same(a.matrix, b.matrix) and _same(one, two)
            assert same, f"{found.name} gives another map the second time"
        else:
            assert a == b, f"{found.name} gives another result the second time"


def _same(a: Array, b: Array) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def _reports(found: Operation, nouns: tuple[Noun, ...], given: Mapping[str, Any]) -> None:
    said: list[float] = []
    found(*nouns, progress=Progress(lambda f, _: said.append(f)), **given)
    assert said, f"{found.name} takes a progress and never calls it"
    assert said == sorted(said), f"{found.name}: progress runs backwards: {said}"
    try:
        found(*nouns, progress=Progress(None, lambda: True), **given)
    except Cancelled:
        return
    raise AssertionError(f"{found.name} swallows the cancel that progress raises")
