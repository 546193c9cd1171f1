"""What every iteration shares: the checked samples, the watch over it, and the `Solution`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somascope.acquire.operators import Adjoint, Compose, demand, norm
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Callback = Callable[[int, Array], bool | None]


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found.

    ``residuals`` has one number per iteration (each solver says which); ``stopped`` is
    ``iterations``, ``tolerance``, ``callback`` or ``exact`` (nothing left to improve).
    """

    x: Array
    iterations: int
    residuals: tuple[float, ...]
    stopped: str


@dataclass
class Watch:
    """Counts iterations, reports, and decides when to stop; for solvers written elsewhere too."""

    iterations: int
    tolerance: float = 0.0
    callback: Callback | None = None
    progress: Progress = QUIET
    name: str = "solving"
    residuals: list[float] = field(default_factory=list[float])
    stopped: str = ""

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ParameterError(f"iterations is {self.iterations}; give at least 1")
        if self.tolerance < 0:
            raise ParameterError(f"tolerance is {self.tolerance}; give 0 or more")

    def done(self, x: Array, residual: float, *, change: float | None = None) -> bool:
        """Note one iteration; ``change`` (default ``residual``) is compared with the tolerance."""
        if not np.isfinite(residual):
            raise ParameterError(
                f"{self.name}: iteration {len(self.residuals) + 1} gave {residual}; the samples "
                "hold values that are not finite, or the step is too large for the operator"
            )
        self.residuals.append(float(residual))
        count = len(self.residuals)
        self.progress(count / self.iterations, f"{self.name} {count}/{self.iterations}")
        if self.callback is not None and self.callback(count, x):
            self.stopped = "callback"
        elif (residual if change is None else change) <= self.tolerance and self.tolerance > 0:
            self.stopped = "tolerance"
        elif count >= self.iterations:
            self.stopped = "iterations"
        return bool(self.stopped)

    def solution(self, x: Array) -> Solution:
        """The result as it stands."""
        return Solution(x, len(self.residuals), tuple(self.residuals), self.stopped or "exact")


def samples(operator: Operator, y: Array, name: str) -> Array:
    """``y`` checked: the operator's range, and finite."""
    y = demand(y, tuple(operator.range), name)
    if not np.isfinite(y).all():
        bad = int(y.size - np.isfinite(y).sum())
        raise ParameterError(f"{name}: {bad} of {y.size} samples are NaN or infinite; mend them")
    return y


def start(operator: Operator, x0: Array | None, like: Array) -> Array:
    """A writable copy of ``x0``, or zeros; of the dtype of ``like``."""
    if x0 is None:
        return np.zeros(operator.domain, like.dtype)
    return np.array(demand(x0, tuple(operator.domain), "x0"), np.result_type(like.dtype))


def dot(a: Array, b: Array) -> float:
    """Real part of ``<a, b>``."""
    return float(np.vdot(a, b).real)


def largest(operator: Operator, like: Array) -> float:
    """An upper bound of ``|A|^2``, from the power method and a margin."""
    value = norm(operator, iterations=20, dtype=str(np.dtype(like.dtype)))
    if value == 0:
        raise ParameterError("the operator is zero: nothing can be reconstructed")
    return 1.05 * value**2


def normal_of(operator: Operator, normal: Operator | None) -> Operator:
    """``A^H A``: the one given (Toeplitz), or the composition."""
    return Compose(Adjoint(operator), operator) if normal is None else normal
