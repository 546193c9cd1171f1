"""Expectation maximisation for counts: MLEM and OSEM. See `somascope.acquire.solvers`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.iteration import Callback, Solution, Watch, samples, start
from somascope.core import QUIET, Operator, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


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
    watch = Watch(iterations, tolerance, callback, progress, "osem" if len(y) > 1 else "mlem")
    ones = (np.ones_like(part) for part in counts)
    sensitivities = [o.adjoint(one) for o, one in zip(operators, ones, strict=True)]
    x = start(operators[0], x0, sensitivities[0])
    if x0 is None:
        seen = sum(float(part.sum()) for part in counts)
        x[...] = max(seen, 1e-12) / max(sum(float(s.sum()) for s in sensitivities), 1e-12)
    elif (x < 0).any():
        raise ParameterError("mlem: x0 is negative somewhere; start from positive values")
    total = sum(part.size for part in counts)
    while True:
        deviance, before = 0.0, x.copy()
        for operator, part, plus, weight in zip(
            operators, counts, added, sensitivities, strict=True
        ):
            expected = np.maximum(operator.forward(x), 0) + plus
            ratio = np.divide(part, expected, out=np.zeros_like(part), where=expected > 0)
            logs = np.log(ratio, out=np.zeros_like(ratio), where=ratio > 0)
            deviance += 2 * float(np.sum(expected - part + part * logs, dtype=np.float64))
            back = operator.adjoint(ratio)
            x *= np.divide(back, weight, out=np.zeros_like(x), where=weight > 1e-6 * weight.max())
            np.maximum(x, 0, out=x)
        change = float(np.linalg.norm(x - before)) / (float(np.linalg.norm(before)) or 1.0)
        if watch.done(x, deviance / total, change=change):
            return watch.solution(x)
