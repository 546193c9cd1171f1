"""Penalised likelihood with the relative difference prior: BSREM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np

from somascope.acquire.iteration import Callback, Solution, Watch
from somascope.acquire.likelihood import compared, maximised
from somascope.acquire.pet.choices import FieldOfView, Iterations, Psf, Size, Subsets
from somascope.acquire.pet.system import System, prepare
from somascope.acquire.relative import RelativeDifference
from somascope.core import QUIET, Acquisition, Image, Operator, Param, Progress, operation
from somascope.core.grid import Array, Float


def ordered_gradients(
    operators: Sequence[Operator],
    counts: Sequence[Array],
    backgrounds: Sequence[Array | float],
    prior: RelativeDifference,
    *,
    beta: float,
    iterations: int,
    relaxation: float = 1.0,
    slowing: float = 0.1,
    x0: Array | None = None,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """Maximum of ``log likelihood - beta R(x)`` by relaxed ordered subsets.

    BSREM (De Pierro and Yamagishi 2001) in the modified form of Ahn and Fessler (2003): every
    subset moves ``x`` by ``relaxation / (1 + slowing n)`` times the subset's gradient scaled with
    ``x / (sensitivity + beta x curvature)``, kept inside ``(0, upper)``; ``upper`` is what one
    voxel could hold at most if all counts came from it. The steps shrink so that the limit cycle
    of OSEM goes to a point. Starts from two passes of OSEM. Residuals: the penalised deviance per
    sample, each subset's before its own step; tolerance is of the relative change of ``x``.
    """
    watch = Watch(iterations, tolerance, callback, progress, "BSREM")
    total = sum(part.size for part in counts)
    seen = sum(float(part.sum(dtype=np.float64)) for part in counts)
    ones = [np.ones(o.range, np.float32) for o in operators]
    parts = [o.adjoint(one) for o, one in zip(operators, ones, strict=True)]
    sensitivity: Array = np.sum(parts, axis=0)
    inside = sensitivity > 1e-6 * sensitivity.max()
    if x0 is None:
        steps = [
            partial(_ratio, o, part, plus)
            for o, part, plus in zip(operators, counts, backgrounds, strict=True)
        ]
        x = maximised(steps, parts, counts=seen, total=total, iterations=2).x
    else:
        x = np.array(x0, np.float32)
    upper = seen / max(float(sensitivity[inside].min()), 1e-30)
    least = np.float32(1e-6 * max(float(x.mean()), 1e-30))
    share = np.float32(beta / len(operators))
    while True:
        step = np.float32(relaxation / (1 + slowing * len(watch.residuals)))
        before, deviance = x.copy(), 0.0
        for operator, part, plus, own in zip(operators, counts, backgrounds, parts, strict=True):
            ratio, more = compared(operator.forward(x), part, plus)
            deviance += more
            slope, bend = prior.gradient(x)
            gradient = operator.adjoint(ratio) - own - share * slope
            scale = np.divide(
                np.maximum(x, least) * np.float32(len(operators)),
                sensitivity + np.float32(beta) * x * bend,
                out=np.zeros_like(x), where=inside,
            )  # fmt: skip
            x = x + step * scale * gradient
            np.clip(x, least, upper, out=x)
            x[~inside] = 0
        penalty = 2 * beta * prior.value(x)
        change = float(np.linalg.norm(x - before)) / (float(np.linalg.norm(before)) or 1.0)
        if watch.done(x, (deviance + penalty) / total, change=change):
            return watch.solution(x)


def _ratio(operator: Operator, part: Array, plus: Array | float, x: Array) -> tuple[Array, float]:
    ratio, deviance = compared(operator.forward(x), part, plus)
    return operator.adjoint(ratio), deviance


def strength(system: System, beta: float) -> float:
    """The weight of the prior in counts per Bq/ml, so that ``beta`` means the same in every scan.

    The likelihood's curvature in a voxel is its sensitivity over its value, the prior's about its
    number of neighbours over it: ``beta`` is in shares of the median sensitivity.
    """
    found: Float = np.zeros(1)
    for operator in system.operators:
        found = found + operator.adjoint(np.ones(operator.range, np.float32))
    return beta * float(np.median(found[found > 0.1 * found.max()]))


@operation("acquire.pet.bsrem")
def bsrem(
    acquisition: Acquisition,
    *,
    beta: Annotated[
        float,
        Param("Strength of the prior, as a share of the median sensitivity", minimum=0.0,
              maximum=100.0, step=0.01),
    ] = 0.02,
    gamma: Annotated[
        float,
        Param("How much edges are spared: 0 smooths all alike", minimum=0.0, maximum=50.0, step=0.5,
              advanced=True),
    ] = 2.0,
    iterations: Iterations = 20,
    subsets: Subsets = 8,
    relaxation: Annotated[
        float, Param("Length of the first step", minimum=0.01, maximum=2.0, step=0.05,
                     advanced=True)
    ] = 1.0,
    psf: Psf = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Reconstruct PET sinograms by penalised likelihood (BSREM, relative difference prior).

    Goes to the one best image instead of stopping early: noise is held down by the prior, which
    penalises differences of neighbours relative to their sum, and hot lesions keep their
    contrast. De Pierro and Yamagishi (2001), Ahn and Fessler (2003), Nuyts et al. (2002).
    """
    system = prepare(
        acquisition, operation_name="acquire.pet.bsrem", subsets=subsets, psf=psf, size=size,
        field_of_view=field_of_view,
    )  # fmt: skip
    prior = RelativeDifference(system.grid.shape, system.grid.spacing, gamma=gamma)
    found = ordered_gradients(
        system.operators, system.counts, system.backgrounds, prior, beta=strength(system, beta),
        iterations=iterations, relaxation=relaxation, progress=progress,
    )  # fmt: skip
    return system.image(
        found.x, method=f"BSREM beta {beta:g} gamma {gamma:g} {iterations} iterations"
    )
