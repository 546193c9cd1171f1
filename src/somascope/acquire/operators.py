"""Linear operators made of linear operators: the algebra all scanners share.

Every class here keeps the contract of `somascope.core.Operator` (``<A x, y> = <x, A^H y>``) for
real and complex arrays, and gives back the precision it was given. Where an output buffer helps, it
belongs to the caller's loop, never to the operator: one operator may serve several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from somascope.acquire.transforms import FFT, Wavelet
from somascope.core import Operator
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

__all__ = [
    "FFT",
    "Adjoint",
    "Compose",
    "Diagonal",
    "Gradient",
    "Identity",
    "Scale",
    "Stack",
    "Sum",
    "Wavelet",
    "demand",
    "norm",
]

Shape = tuple[int, ...]


def demand(array: Array, shape: Shape, name: str) -> Array:
    """``array`` as floating point of exactly ``shape``, or `GeometryError` naming the operator."""
    array = np.asarray(array)
    if array.shape != tuple(shape):
        raise GeometryError(f"{name} was given shape {array.shape}; it takes {tuple(shape)}")
    return array if array.dtype.kind in "fc" else array.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Identity:
    """``y = x`` for arrays of ``shape``."""

    shape: Shape

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return tuple(self.shape)

    @property
    def range(self) -> Shape:
        """Shape of ``y``."""
        return tuple(self.shape)

    def forward(self, x: Array) -> Array:
        """``x`` itself, not a copy."""
        return demand(x, self.domain, "Identity")

    def adjoint(self, y: Array) -> Array:
        """``y`` itself, not a copy."""
        return demand(y, self.range, "Identity")


@dataclass(frozen=True, eq=False)
class Diagonal:
    """``y = w x`` with weights ``w`` that broadcast against ``shape`` (default: their own shape).

    Real or complex; the adjoint multiplies with the conjugate. A leading axis in ``w`` that
    ``shape`` lacks (coil maps times an image) makes the range larger and the adjoint sum over it.
    """

    weights: Array
    shape: Shape | None = None

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return tuple(self.weights.shape if self.shape is None else self.shape)

    @property
    def range(self) -> Shape:
        """Shape of ``y``: the broadcast of both."""
        try:
            return np.broadcast_shapes(self.domain, np.shape(self.weights))
        except ValueError as error:
            raise GeometryError(
                f"Diagonal has weights of shape {np.shape(self.weights)} for arrays of "
                f"{self.domain}; give weights that broadcast against them"
            ) from error

    def forward(self, x: Array) -> Array:
        """``w x``."""
        x = demand(x, self.domain, "Diagonal")
        return x * _like(self.weights, x)

    def adjoint(self, y: Array) -> Array:
        """``conj(w) y``, summed over the axes that ``x`` lacks."""
        y = demand(y, self.range, "Diagonal.adjoint")
        w = _like(self.weights, y)
        y = y * (np.conj(w) if w.dtype.kind == "c" else w)
        lead = len(self.range) - len(self.domain)
        axes = (
            *range(lead),
            *(lead + i for i, n in enumerate(self.domain) if n == 1 and self.range[lead + i] != 1),
        )
        return y.sum(axis=axes).reshape(self.domain) if axes else y


@dataclass(frozen=True, eq=False)
class Adjoint:
    """``A^H`` as an operator of its own."""

    operator: Operator

    @property
    def domain(self) -> Shape:
        """Range of ``A``."""
        return tuple(self.operator.range)

    @property
    def range(self) -> Shape:
        """Domain of ``A``."""
        return tuple(self.operator.domain)

    def forward(self, x: Array) -> Array:
        """``A^H x``."""
        return self.operator.adjoint(x)

    def adjoint(self, y: Array) -> Array:
        """``A y``."""
        return self.operator.forward(y)


class Compose:
    """``A B C ...``: the last is applied first, as in the formula."""

    def __init__(self, *operators: Operator) -> None:
        if not operators:
            raise ParameterError("Compose() of nothing; give at least one operator")
        for outer, inner in pairwise(operators):
            if tuple(outer.domain) != tuple(inner.range):
                raise GeometryError(
                    f"Compose: {type(inner).__name__} gives {tuple(inner.range)} but "
                    f"{type(outer).__name__} takes {tuple(outer.domain)}"
                )
        self.operators = operators

    @property
    def domain(self) -> Shape:
        """Domain of the last."""
        return tuple(self.operators[-1].domain)

    @property
    def range(self) -> Shape:
        """Range of the first."""
        return tuple(self.operators[0].range)

    def forward(self, x: Array) -> Array:
        """Apply from the last to the first."""
        for operator in reversed(self.operators):
            x = operator.forward(x)
        return x

    def adjoint(self, y: Array) -> Array:
        """Apply the adjoints from the first to the last."""
        for operator in self.operators:
            y = operator.adjoint(y)
        return y


class Sum:
    """``A + B + ...`` of operators with the same domain and range."""

    def __init__(self, *operators: Operator) -> None:
        _alike("Sum", operators)
        self.operators = operators

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return tuple(self.operators[0].domain)

    @property
    def range(self) -> Shape:
        """Shape of ``y``."""
        return tuple(self.operators[0].range)

    def forward(self, x: Array) -> Array:
        """Sum of ``A_i x``."""
        return _total(o.forward(x) for o in self.operators)

    def adjoint(self, y: Array) -> Array:
        """Sum of ``A_i^H y``."""
        return _total(o.adjoint(y) for o in self.operators)


@dataclass(frozen=True, eq=False)
class Scale:
    """``s A`` with a number ``s``, real or complex."""

    operator: Operator
    factor: complex

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return tuple(self.operator.domain)

    @property
    def range(self) -> Shape:
        """Shape of ``y``."""
        return tuple(self.operator.range)

    def forward(self, x: Array) -> Array:
        """``s A x``."""
        return self.operator.forward(x) * _number(self.factor)

    def adjoint(self, y: Array) -> Array:
        """``conj(s) A^H y``."""
        return self.operator.adjoint(y) * _number(np.conj(self.factor))


class Stack:
    """``[A; B; ...]``: operators of one domain and equal ranges, results along a new first axis."""

    def __init__(self, *operators: Operator) -> None:
        _alike("Stack", operators)
        self.operators = operators

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return tuple(self.operators[0].domain)

    @property
    def range(self) -> Shape:
        """``(count, *range of each)``."""
        return (len(self.operators), *self.operators[0].range)

    def forward(self, x: Array) -> Array:
        """All results, stacked."""
        return np.stack([np.asarray(o.forward(x)) for o in self.operators])

    def adjoint(self, y: Array) -> Array:
        """Sum of the adjoints."""
        y = demand(y, self.range, "Stack.adjoint")
        return _total(o.adjoint(part) for o, part in zip(self.operators, y, strict=True))


class Gradient:
    """Forward differences along the last ``ndim`` axes; range ``(ndim, *shape)``.

    The difference at the far border is zero (Neumann), so ``-A^H`` is the usual divergence.
    ``spacing`` divides each axis (same order as the axes); its norm is below ``2 sqrt(ndim)``.
    """

    def __init__(
        self, shape: Shape, *, ndim: int | None = None, spacing: Sequence[float] | None = None
    ) -> None:
        self._shape = tuple(shape)
        self.ndim = len(shape) if ndim is None else ndim
        if not 1 <= self.ndim <= len(shape):
            raise ParameterError(f"Gradient.ndim is {ndim} for arrays of shape {tuple(shape)}")
        steps = (1.0,) * self.ndim if spacing is None else tuple(float(s) for s in spacing)
        if len(steps) != self.ndim or min(steps) <= 0:
            raise ParameterError(
                f"Gradient.spacing is {spacing}; give {self.ndim} positive numbers"
            )
        self.spacing = steps

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return self._shape

    @property
    def range(self) -> Shape:
        """``(ndim, *shape)``."""
        return (self.ndim, *self._shape)

    def forward(self, x: Array) -> Array:
        """``y[i] = (x shifted by one along axis i) - x``, over the spacing."""
        x = demand(x, self._shape, "Gradient")
        out = np.zeros(self.range, x.dtype)
        for i, near, far in self._axes():
            np.subtract(x[far], x[near], out=out[i][near])
            if self.spacing[i] != 1.0:
                out[i] /= self.spacing[i]
        return out

    def adjoint(self, y: Array) -> Array:
        """Minus the divergence."""
        y = demand(y, self.range, "Gradient.adjoint")
        out = np.zeros(self._shape, y.dtype)
        for i, near, far in self._axes():
            part = y[i][near] if self.spacing[i] == 1.0 else y[i][near] / self.spacing[i]
            out[near] -= part
            out[far] += part
        return out

    def _axes(self) -> list[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
        whole = (slice(None),) * len(self._shape)
        found = []
        for i in range(self.ndim):
            axis = len(self._shape) - self.ndim + i
            near = (*whole[:axis], slice(None, -1), *whole[axis + 1 :])
            far = (*whole[:axis], slice(1, None), *whole[axis + 1 :])
            found.append((i, near, far))
        return found


def norm(
    operator: Operator,
    *,
    iterations: int = 30,
    tolerance: float = 1e-4,
    seed: int = 0,
    dtype: str = "float32",
) -> float:
    """Largest singular value, by power iteration on ``A^H A``.

    Approaches from below: multiply by 1.02 or so where an upper bound is needed. ``dtype`` is
    that of ``x`` (``complex64`` where the operator is complex). The best known value is returned
    when it changes by less than ``tolerance`` relative, or after ``iterations``.
    """
    rng = np.random.default_rng(seed)
    x: Array = rng.normal(size=operator.domain).astype(dtype)
    if x.dtype.kind == "c":
        x += 1j * rng.normal(size=operator.domain).astype(dtype)
    x /= np.linalg.norm(x)
    value = 0.0
    for _ in range(iterations):
        x = operator.adjoint(operator.forward(x))
        size = float(np.linalg.norm(x))
        if size == 0 or not np.isfinite(size):
            return size
        x = x / np.asarray(size, np.finfo(x.dtype).dtype)
        before, value = value, float(np.sqrt(size))
        if abs(value - before) <= tolerance * value:
            break
    return value


def _alike(name: str, operators: Sequence[Operator]) -> None:
    if not operators:
        raise ParameterError(f"{name}() of nothing; give at least one operator")
    first = tuple(operators[0].domain), tuple(operators[0].range)
    for other in operators[1:]:
        given = tuple(other.domain), tuple(other.range)
        if given != first:
            raise GeometryError(
                f"{name}: {type(other).__name__} maps {given[0]} to {given[1]}; all must map "
                f"{first[0]} to {first[1]} as the first does"
            )


def _total(parts: Iterable[Array]) -> Array:
    total: Array | None = None
    for part in parts:
        if total is None:
            total = np.array(part)
        elif np.result_type(total, part) == total.dtype:
            total += part
        else:
            total = total + part
    assert total is not None
    return total


def _like(weights: Array, x: Array) -> Array:
    """``weights`` in the precision of ``x``, real kept real."""
    single = x.dtype in (np.float32, np.complex64)
    kind = np.asarray(weights).dtype.kind
    wanted = {
        ("c", True): np.complex64,
        ("c", False): np.complex128,
        ("r", True): np.float32,
        ("r", False): np.float64,
    }[("c" if kind == "c" else "r", single)]
    return np.asarray(weights, wanted)


def _number(factor: complex) -> complex | float:
    value = complex(factor)
    return value.real if value.imag == 0 else value
