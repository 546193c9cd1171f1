"""`check_operator`: is it linear, and is the adjoint its adjoint."""

from __future__ import annotations

import numpy as np

from somascope.core import Operator
from somascope.core.grid import Array


def check_operator(
    operator: Operator,
    *,
    seed: int = 0,
    domain_dtype: str = "float32",
    range_dtype: str = "float32",
    tolerance: float = 1e-4,
) -> None:
    """Hold ``operator`` to the contract of `somascope.core.Operator`.

    Parameters
    ----------
    seed
        Of the random vectors.
    domain_dtype, range_dtype
        What ``forward`` and ``adjoint`` are given: ``float32``, ``float64``, ``complex64``,
        ``complex128``. Where one is complex, vectors and scalars are complex too.
    tolerance
        Of ``|<A x, y> - <x, A^H y>| / (|A x| |y|)`` and of the linearity of both, relative to the
        norms. Single precision sums over n terms reach about ``sqrt(n) 6e-8``.

    Raises
    ------
    AssertionError
        Naming the promise: shapes, dtypes, finite values, inputs left alone, repeatable, linear,
        adjoint, not identically zero.
    """
    assert isinstance(operator, Operator), (
        f"{type(operator).__name__} lacks one of domain, range, forward, adjoint"
    )
    rng = np.random.default_rng(seed)
    x, x2 = (_random(rng, operator.domain, domain_dtype) for _ in range(2))
    y, y2 = (_random(rng, operator.range, range_dtype) for _ in range(2))
    a = _apply(operator, "forward", x, operator.range)
    b = _apply(operator, "adjoint", y, operator.domain)
    assert np.linalg.norm(a) > 0, "forward of a random vector is zero"

    left, right = complex(np.vdot(y, a)), complex(np.vdot(b, x))
    if x.dtype.kind != "c" or y.dtype.kind != "c":
        left, right = complex(left.real), complex(right.real)  # a real space has a real product
    scale = float(np.linalg.norm(a) * np.linalg.norm(y))
    gap = abs(left - right) / scale
    assert gap <= tolerance, (
        f"adjoint is not the adjoint of forward: <Ax, y> = {left:.6g}, <x, A^H y> = {right:.6g}, "
        f"apart by {gap:.2g} of |Ax||y| (allowed {tolerance:g})"
    )
    both = x.dtype.kind == y.dtype.kind == "c"
    s = complex(*rng.normal(size=2)) if both else float(rng.normal())
    for name, pair, shape in (
        ("forward", (x, x2), operator.range),
        ("adjoint", (y, y2), operator.domain),
    ):
        _linear(operator, name, pair, shape=shape, scalar=s, tolerance=tolerance)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


def _apply(operator: Operator, name: str, given: Array, shape: tuple[int, ...]) -> Array:
    function = getattr(operator, name)
    kept = given.copy()
    result = np.asarray(function(given))
    assert np.array_equal(given, kept), f"{name} changes its input"
    assert result.shape == tuple(shape), (
        f"{name} returns shape {result.shape}; the operator declares {tuple(shape)}"
    )
    assert result.dtype.kind in "fc", f"{name} returns {result.dtype}; give floating point"
    double = given.dtype in (np.float64, np.complex128)
    assert not double or result.dtype in (np.float64, np.complex128), (
        f"{name} of {given.dtype} returns {result.dtype}: precision is lost"
    )
    assert np.isfinite(result).all(), f"{name} returns values that are not finite"
    kept = result.copy()
    again = np.asarray(function(given))
    assert np.allclose(again, kept, rtol=1e-5, atol=1e-6 * float(np.abs(kept).max() or 1)), (
        f"{name} gives another answer the second time"
    )
    return kept


def _linear(
    operator: Operator,
    name: str,
    vectors: tuple[Array, Array],
    *,
    shape: tuple[int, ...],
    scalar: complex,
    tolerance: float,
) -> None:
    u, v = vectors
    total = _apply(operator, name, (scalar * u + v).astype(u.dtype), shape)
    parts = scalar * _apply(operator, name, u, shape) + _apply(operator, name, v, shape)
    gap = float(np.linalg.norm(total - parts)) / max(float(np.linalg.norm(parts)), 1e-30)
    assert gap <= tolerance, (
        f"{name} is not linear: {name}(s u + v) differs from s {name}(u) + {name}(v) by {gap:.2g} "
        f"(allowed {tolerance:g})"
    )
