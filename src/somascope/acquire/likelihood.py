"""Expectation maximisation for counts: MLEM and OSEM. See `somascope.acquire.solvers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numba
import numpy as np

from somascope.acquire.iteration import Callback, Solution, Watch, samples, start
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

Step: TypeAlias = Callable[[Array], tuple[Array, float]]
"""``x`` to ``A^T (y / (A x + background))`` of one subset, and its deviance."""

_FLOOR = 1e-6
_BLOCK = 1 << 15


def mlem(
    operator: Operator,
    y: Array,
    *,
    iterations: int = 30,
    x0: Array | None = None,
    background: Array | float = 0.0,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Maximum likelihood for Poisson counts ``y ~ A x + background`` (Shepp and Vardi 1982).

    ``A`` and ``x`` are not negative. Residuals: the Poisson deviance per sample
    ``2 mean(m - y + y log(y / m))``; tolerance is of the relative change of ``x``.
    """
    return osem([operator], [y], iterations=iterations, x0=x0, background=[background],
                tolerance=tolerance, callback=callback, progress=progress)  # fmt: skip


def osem(
    operators: Sequence[Operator],
    y: Sequence[Array],
    *,
    iterations: int = 4,
    x0: Array | None = None,
    background: Sequence[Array | float] | float = 0.0,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Ordered subsets of `mlem`: one operator and one array of counts per subset (Hudson 1994).

    One iteration visits every subset once. Residuals: the deviance per sample, each subset's
    before its own update.
    """
    if len(operators) != len(y) or not operators:
        raise ParameterError(
            f"osem has {len(operators)} operators for {len(y)} subsets of counts; give one each"
        )
    counts = [samples(o, part, "mlem") for o, part in zip(operators, y, strict=True)]
    if any((part < 0).any() for part in counts):
        raise ParameterError("mlem: counts are negative; give raw counts and the background apart")
    added = list(background) if isinstance(background, Sequence) else [background] * len(y)
    ones = (np.ones_like(part) for part in counts)
    sensitivities = [o.adjoint(one) for o, one in zip(operators, ones, strict=True)]
    steps = [
        partial(_step, operator, part, plus)
        for operator, part, plus in zip(operators, counts, added, strict=True)
    ]
    if x0 is not None:
        x0 = start(operators[0], x0, sensitivities[0])
    return maximised(
        steps, sensitivities, iterations=iterations, x0=x0, total=sum(c.size for c in counts),
        counts=sum(float(c.sum()) for c in counts), tolerance=tolerance, callback=callback,
        progress=progress,
    )  # fmt: skip


def maximised(
    steps: Sequence[Step],
    sensitivities: Sequence[Array],
    *,
    counts: float,
    total: int,
    iterations: int,
    x0: Array | None = None,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """The loop of `osem` over steps of any kind, such as events read from a file.

    Parameters
    ----------
    steps
        One per subset.
    sensitivities
        ``A^T 1`` of each subset.
    counts, total
        Sum of all counts (it scales the start), and number of samples (it divides the deviance).
    """
    name = "osem" if len(steps) > 1 else "mlem"
    watch = Watch(iterations, tolerance, callback, progress, name)
    if x0 is None:
        seen = sum(float(s.sum()) for s in sensitivities)
        x = np.full_like(sensitivities[0], max(counts, 1e-12) / max(seen, 1e-12))
    elif (x0 < 0).any():
        raise ParameterError("mlem: x0 is negative somewhere; start from positive values")
    else:
        x = np.array(x0)
    while True:
        deviance, before = 0.0, x.copy()
        for step, weight in zip(steps, sensitivities, strict=True):
            back, part = step(x)
            deviance += part
            x *= np.divide(back, weight, out=np.zeros_like(x), where=weight > _FLOOR * weight.max())
            np.maximum(x, 0, out=x)
        change = float(np.linalg.norm(x - before)) / (float(np.linalg.norm(before)) or 1.0)
        if watch.done(x, deviance / max(total, 1), change=change):
            return watch.solution(x)


def _step(operator: Operator, counts: Array, plus: Array | float, x: Array) -> tuple[Array, float]:
    ratio, deviance = compared(operator.forward(x), counts, plus)
    return operator.adjoint(ratio), deviance


def compared(expected: Array, counts: Array, plus: Array | float = 0.0) -> tuple[Array, float]:
    """``counts / (expected + plus)``, and the deviance of the two; 0 where nothing is expected."""
    mean = np.maximum(expected, 0) + plus
    ratio = np.empty(counts.shape, np.result_type(mean, counts))
    blocks = -(-counts.size // _BLOCK)
    sums = np.zeros(blocks)
    in_chunks(
        _compare, blocks, np.ascontiguousarray(mean, ratio.dtype).reshape(-1),
        np.ascontiguousarray(counts, ratio.dtype).reshape(-1), ratio.reshape(-1), sums,
    )  # fmt: skip
    return ratio, float(sums.sum())


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _compare(first: int, last: int, mean: Array, counts: Array, ratio: Array, sums: Array) -> None:
    """Blocks of a fixed size, so that the sums do not depend on the threads."""
    for block in range(first, last):
        total = 0.0
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, len(mean))):
            m, c = mean[i], counts[i]
            ratio[i] = c / m if m > 0 else 0
            total += m - c
            if ratio[i] > 0:  # nor a count so small that its ratio is none
                total += c * np.log(ratio[i])
        sums[block] += 2 * total
