"""`operation`: publish a plain function once, and it is there in all five doors.

::

    @operation("process.gaussian")
    def gaussian(
        image: Image,
        *,
        sigma: Annotated[float, Param("Standard deviation", unit="mm", minimum=0.0)] = 1.0,
    ) -> Image:
        \"\"\"Smooth with a Gaussian.\"\"\"

Positional parameters are the inputs (`Image`, `Mask`, `Acquisition`), keyword-only ones the
parameters. The decorated function is still the plain Python call; it validates its parameters and
appends a `Step` to the provenance of what it returns. ``progress: Progress`` is passed through and
is not a parameter. Register it under the entry-point group ``somascope.operations``.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import ParameterError
from somascope.core.finding import Box, Label, Mask, Measurement, Warp
from somascope.core.image import Image
from somascope.core.progress import Progress
from somascope.core.provenance import Step

P = ParamSpec("P")
R = TypeVar("R")

NOUNS = (Image, Mask, Acquisition, Label, Box, Warp, Measurement)


@dataclass(frozen=True)
class Param:
    """What a form, a command line and a validator need to know about one parameter.

    ``step`` is the slider step; ``advanced`` hides it behind "more" in forms. ``opens`` says what
    the text makes the operation open, and so read, on the machine it runs on: a ``model``, several
    ``models``, a ``shape``, ``rules``, an ``atlas``, a ``cohort``. Doors for strangers (the server)
    take names that are known there, never a path.
    """

    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    advanced: bool = False
    opens: str = ""


@dataclass(frozen=True)
class Parameter:
    """One keyword parameter of an operation, read from its annotation."""

    name: str
    type: Literal["number", "integer", "boolean", "string", "array"]
    default: Any
    required: bool
    nullable: bool
    choices: tuple[Any, ...]
    length: int | None
    param: Param

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of this parameter; ``unit`` and ``advanced`` as extra keywords."""
        schema: dict[str, Any] = {"type": self.type, "description": self.param.help}
        if self.type == "array":
            schema |= {"items": {"type": "number"}}
            if self.length is not None:
                schema |= {"minItems": self.length, "maxItems": self.length}
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.nullable:
            schema["type"] = [schema["type"], "null"]
            if self.choices:
                schema["enum"] = [*self.choices, None]
        if not self.required:
            default: Any = self.default
            schema["default"] = _plain(default)
        target = schema["items"] if self.type == "array" else schema
        if self.param.minimum is not None:
            target["minimum"] = self.param.minimum
        if self.param.maximum is not None:
            target["maximum"] = self.param.maximum
        if self.param.step is not None:
            schema["step"] = self.param.step
        if self.param.unit:
            schema["unit"] = self.param.unit
        if self.param.advanced:
            schema["advanced"] = True
        if self.param.opens:
            schema["opens"] = self.param.opens
        return schema

    def validate(self, operation: str, value: Any) -> Any:
        """The value in its declared type, or `ParameterError`."""
        where = f"{operation}: parameter {self.name!r} is {value!r}"
        if value is None:
            if self.nullable:
                return None
            raise ParameterError(f"{where}; give a {self.type}")
        if self.type == "array":
            if isinstance(value, str) or not hasattr(value, "__iter__"):
                raise ParameterError(f"{where}; give {self.length or 'several'} numbers")
            items = tuple(self._number(where, v) for v in cast("Iterable[Any]", value))
            if self.length is not None and len(items) != self.length:
                raise ParameterError(f"{where}; give exactly {self.length} numbers")
            return items
        result: float | bool | str
        if self.type in ("number", "integer"):
            result = self._number(where, value)
        elif self.type == "boolean":
            if not isinstance(value, (bool, np.bool_)):
                raise ParameterError(f"{where}; give true or false")
            result = bool(cast("bool", value))
        elif isinstance(value, str):
            result = value
        else:
            raise ParameterError(f"{where}; give text")
        if self.choices and result not in self.choices:
            raise ParameterError(f"{where}; choose one of {', '.join(map(str, self.choices))}")
        return result

    def _number(self, where: str, value: Any) -> float | int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(
            value, (int, float, np.integer, np.floating)
        ):
            raise ParameterError(f"{where}; give a number{self._range()}")
        number = float(cast("float", value))
        if not np.isfinite(number):
            raise ParameterError(f"{where}; give a finite number{self._range()}")
        if self.type == "integer" and not number.is_integer():
            raise ParameterError(f"{where}; give a whole number{self._range()}")
        low, high = self.param.minimum, self.param.maximum
        if (low is not None and number < low) or (high is not None and number > high):
            raise ParameterError(f"{where}; give a number{self._range()}")
        return int(number) if self.type == "integer" else number

    def _range(self) -> str:
        low, high, unit = self.param.minimum, self.param.maximum, self.param.unit
        tail = f" {unit}" if unit else ""
        if low is not None and high is not None:
            return f" from {low:g} to {high:g}{tail}"
        if low is not None:
            return f" of at least {low:g}{tail}"
        if high is not None:
            return f" of at most {high:g}{tail}"
        return f" (in{tail})" if unit else ""

    def parse(self, operation: str, text: str) -> Any:
        """Read the value from a command line: ``3``, ``true``, ``1,1,2``, ``none``."""
        if self.nullable and text.lower() in ("none", "null", ""):
            return None
        try:
            if self.type == "array":
                return self.validate(operation, [float(t) for t in text.split(",")])
            if self.type in ("number", "integer"):
                return self.validate(operation, float(text))
        except ValueError as error:
            if isinstance(error, ParameterError):
                raise
            raise ParameterError(
                f"{operation}: parameter {self.name!r} is {text!r}; give a {self.type}"
            ) from error
        if self.type == "boolean":
            if text.lower() in ("true", "yes", "on", "1"):
                return True
            if text.lower() in ("false", "no", "off", "0"):
                return False
            raise ParameterError(
                f"{operation}: parameter {self.name!r} is {text!r}; give yes or no"
            )
        return self.validate(operation, text)


@dataclass(frozen=True)
class Operation:
    """A published verb: its name, inputs, parameters, output, and the function itself."""

    name: str
    summary: str
    inputs: tuple[tuple[str, str], ...]
    """Name and noun of each positional input, e.g. ``(("image", "Image"),)``."""
    parameters: tuple[Parameter, ...]
    output: str
    function: Callable[..., Any]
    takes_progress: bool

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, defaults filled in, each of its declared type and range."""
        known = {p.name: p for p in self.parameters}
        for name in params:
            if name not in known:
                raise ParameterError(
                    f"{self.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
                )
        result: dict[str, Any] = {}
        for p in self.parameters:
            if p.name not in params and p.required:
                raise ParameterError(f"{self.name} needs {p.name!r}: {p.param.help}")
            result[p.name] = (
                p.validate(self.name, params[p.name]) if p.name in params else p.default
            )
        return result

    def chosen(self, params: Mapping[str, Any]) -> str:
        """Parameters that differ from their defaults, ``kernel=hann sigma=2``: for titles."""
        defaults = {p.name: _plain(p.default) for p in self.parameters if not p.required}
        differing = {
            k: _plain(v) for k, v in params.items() if k not in defaults or _plain(v) != defaults[k]
        }
        return " ".join(f"{k}={_short(v)}" for k, v in differing.items())

    def schema(self) -> dict[str, Any]:
        """The operation as JSON: what `/api/operations` and the viewer's forms are made from."""
        return {
            "name": self.name,
            "summary": self.summary,
            "inputs": [{"name": n, "type": t} for n, t in self.inputs],
            "output": self.output,
            "params": {
                "type": "object",
                "properties": {p.name: p.schema() for p in self.parameters},
                "required": [p.name for p in self.parameters if p.required],
                "additionalProperties": False,
            },
        }

    def __call__(self, *inputs: Any, progress: Progress | None = None, **params: Any) -> Any:
        """Validate and run; the doors other than Python call this."""
        if progress is not None and self.takes_progress:
            params["progress"] = progress
        return self.function(*inputs, **params)


def _parameter(name: str, hint: Any, default: Any, *, operation: str) -> Parameter:
    param = Param("")
    if get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        param = next((e for e in extra if isinstance(e, Param)), param)
    nullable = False
    if get_origin(hint) in (Union, types.UnionType):
        options = [a for a in get_args(hint) if a is not type(None)]
        nullable = len(options) < len(get_args(hint))
        hint = options[0]
    choices: tuple[Any, ...] = ()
    length: int | None = None
    if get_origin(hint) is Literal:
        choices, kind = get_args(hint), "string"
        if not all(isinstance(c, str) for c in choices):
            kind = "integer"
    elif get_origin(hint) is tuple:
        args = get_args(hint)
        kind, length = "array", None if args[-1] is Ellipsis else len(args)
    else:
        kinds = {float: "number", int: "integer", bool: "boolean", str: "string"}
        if hint not in kinds:
            raise TypeError(
                f"{operation}: parameter {name!r} has type {hint!r}; use float, int, bool, str, "
                "Literal, or a tuple of floats"
            )
        kind = kinds[hint]
    required = default is inspect.Parameter.empty
    return Parameter(
        name=name,
        type=cast("Any", kind),
        default=None if required else default,
        required=required,
        nullable=nullable,
        choices=choices,
        length=length,
        param=param,
    )


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: a tuple is a list there."""
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_short(v) for v in cast("list[Any]", value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _noun(hint: Any) -> str:
    if hint in NOUNS:
        return cast("type", hint).__name__
    args = [a for a in get_args(hint) if a is not Ellipsis]
    if get_origin(hint) in (list, tuple) and args:
        return f"{_noun(args[0])}[]"
    if get_origin(hint) in (Union, types.UnionType):
        return "|".join(_noun(a) for a in args)
    return getattr(hint, "__name__", str(hint))


def describe(name: str, function: Callable[..., Any]) -> Operation:
    """Read an `Operation` from a function's signature."""
    hints = get_type_hints(function, include_extras=True)
    inputs: list[tuple[str, str]] = []
    parameters: list[Parameter] = []
    takes_progress = False
    for p in inspect.signature(function).parameters.values():
        hint = hints.get(p.name, Any)
        if p.name == "progress":
            takes_progress = True
        elif p.kind is inspect.Parameter.KEYWORD_ONLY:
            parameters.append(_parameter(p.name, hint, p.default, operation=name))
        elif p.kind is inspect.Parameter.VAR_POSITIONAL:
            inputs.append((p.name, f"{_noun(hint)}[]"))
        else:
            inputs.append((p.name, _noun(hint)))
    summary = (inspect.getdoc(function) or name).split("\n\n")[0].replace("\n", " ")
    return Operation(
        name=name,
        summary=summary,
        inputs=tuple(inputs),
        parameters=tuple(parameters),
        output=_noun(hints.get("return", Any)),
        function=function,
        takes_progress=takes_progress,
    )


def input_uids(value: Any) -> tuple[str, ...]:
    """The UIDs or names that stand for an input in a provenance record."""
    sources = value.provenance.sources if hasattr(value, "provenance") else ()
    return tuple(s.name for s in sources)


def record(result: Any, step: Step) -> Any:
    """``result`` (a noun, or a list or tuple of nouns) with ``step`` at the end of its history."""
    if isinstance(result, (list, tuple)):
        items = [record(r, step) for r in cast("list[Any]", result)]
        return items if isinstance(result, list) else tuple(items)
    if isinstance(result, NOUNS):
        return replace(result, provenance=result.provenance.then(step))
    return result


def operation(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Publish ``function`` as the operation ``name`` (verb first, dotted, lower case)."""

    def publish(function: Callable[P, R]) -> Callable[P, R]:
        described = describe(name, function)
        names = {p.name for p in described.parameters}

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            given = {k: v for k, v in kwargs.items() if k in names}
            others = {k: v for k, v in kwargs.items() if k not in names}
            params = described.validate(given)
            result = cast("Callable[..., R]", function)(*args, **{**others, **params})
            inputs = tuple(u for a in args for u in input_uids(a))
            from somascope import __version__

            recorded = {k: _plain(v) for k, v in params.items()}
            note = described.chosen(recorded)
            return record(result, Step(name, recorded, inputs, __version__, note))

        cast("Any", run).operation = replace(described, function=run)
        return run

    return publish
