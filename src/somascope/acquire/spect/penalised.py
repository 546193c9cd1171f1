"""`acquire.spect.map`: maximum a posteriori by ordered subsets, with De Pierro's surrogate.

The prior is a sum of weighted squared differences of neighbours: with equal weights the quadratic
one, with ``1 / sqrt(|grad x|^2 + e^2)`` at the present image the total variation; or the relative
difference prior that PET uses too. De Pierro (1995) bounds it by a sum over voxels that touches it
at the present image, so that the voxel's update is the root of a quadratic equation: stable for
every weight, never negative. The weight is in shares of the median sensitivity. The loop is that of
`likelihood.osem`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.likelihood import compared, maximised, osem
from somascope.acquire.operators import Gradient
from somascope.acquire.relative import RelativeDifference
from somascope.acquire.spect.choices import (
    Attenuation,
    DecayTo,
    Iterations,
    Resolution,
    Scatter,
    Smooth,
    Subsets,
)
from somascope.acquire.spect.system import prepare
from somascope.core import QUIET, Acquisition, Image, Operator, Param, Progress, operation
from somascope.core.grid import Array

Weights: TypeAlias = Callable[[Array, Array], Array]
Slope: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""Of a prior at an image: its gradient, and half of what bounds the rows of its curvature."""

_EDGE = 0.05
"""Differences below this share of the largest value are smoothed like quadratic ones by TV."""


def even(x: Array, differences: Array) -> Array:  # noqa: ARG001
    """Equal weights, 1 over the mean of what is seen: the quadratic prior, in the image's unit."""
    seen = x > 0
    return np.full(x.shape, 1 / float(x[seen].mean()) if seen.any() else 1.0, x.dtype)


def edges(x: Array, differences: Array) -> Array:
    """Total variation: differences weigh less where they are large."""
    least = max(_EDGE * float(x.max()), 1e-30)
    return 1 / np.sqrt(np.sum(differences**2, axis=0) + x.dtype.type(least) ** 2)


WEIGHTS: Mapping[str, Weights] = {"TV": edges, "quadratic": even}


def slope(x: Array, gradient: Gradient, weights: Weights) -> tuple[Array, Array]:
    """Slope of the prior, and the diagonal of its curvature with the weights held."""
    steps = gradient.forward(x)
    w = weights(x, steps)
    diagonal = np.zeros_like(x)
    for axis, step in enumerate(gradient.spacing):
        near = tuple(slice(None, -1) if a == axis else slice(None) for a in range(x.ndim))
        far = tuple(slice(1, None) if a == axis else slice(None) for a in range(x.ndim))
        part = w[near] / x.dtype.type(step * step)
        diagonal[near] += part
        diagonal[far] += part
    return gradient.adjoint(steps * w), diagonal


def slope_of(
    prior: str, shape: tuple[int, ...], spacing: tuple[float, ...], *, gamma: float
) -> Slope:
    """The slope of a prior by name."""
    if prior == "relative":
        relative = RelativeDifference(shape, spacing, gamma=gamma)

        def run(x: Array) -> tuple[Array, Array]:
            push, bend = relative.gradient(x)
            return push, bend / 2

        return run
    gradient = Gradient(shape, spacing=[s / min(spacing) for s in spacing])
    return partial(slope, gradient=gradient, weights=WEIGHTS[prior])


def updated(likely: Array, x: Array, push: Array, stiff: Array) -> Array:
    """The root of ``2 d z^2 + (1 + g - 2 d x) z = e`` that is not negative.

    ``e`` is what EM alone would make of ``x``; ``g`` slope and ``d`` diagonal of the prior.
    """
    b = 1 + push - 2 * stiff * x
    root = np.sqrt(b * b + 8 * stiff * likely)
    high = np.divide(2 * likely, b + root, out=np.zeros_like(x), where=b + root > 0)
    low = np.divide(root - b, 4 * stiff, out=np.zeros_like(x), where=stiff > 0)
    return np.where(b > 0, high, low)


@dataclass(frozen=True, eq=False)
class Late:
    """One subset's update as a step of `likelihood.maximised`."""

    operator: Operator
    counts: Array
    background: Array | float
    sensitivity: Array
    slope: Slope
    beta: float

    def __call__(self, x: Array) -> tuple[Array, float]:
        """``sensitivity z / x`` for the updated ``z``, which the loop turns back; the deviance."""
        ratio, deviance = compared(self.operator.forward(x), self.counts, self.background)
        back, weight = self.operator.adjoint(ratio), self.sensitivity
        seen = weight > 1e-6 * float(weight.max())
        usual = float(np.median(weight[weight > 0.1 * float(weight.max())]))
        beta = np.divide(self.beta * usual, weight, out=np.zeros_like(x), where=seen)
        em = x * np.divide(back, weight, out=np.zeros_like(x), where=seen)
        g, d = self.slope(x)
        new = updated(em, x, beta * g, beta * d)
        return weight * np.divide(new, x, out=np.zeros_like(x), where=x > 0), deviance


@operation("acquire.spect.map")
def penalised(
    acquisition: Acquisition,
    *,
    prior: Annotated[
        Literal["TV", "quadratic", "relative"],
        Param("What is expected of neighbours: few edges, small differences, or differences that "
              "are small beside their sum"),
    ] = "TV",
    beta: Annotated[
        float, Param("Weight of the prior, as a share of the median sensitivity", minimum=0.0,
                     maximum=2.0, step=0.01)
    ] = 0.01,
    gamma: Annotated[
        float, Param("How much the relative prior spares edges", minimum=0.0, maximum=50.0,
                     step=0.5, advanced=True)
    ] = 2.0,
    iterations: Iterations = 10,
    subsets: Subsets = 8,
    attenuation: Attenuation = True,
    resolution: Resolution = True,
    scatter: Scatter = True,
    smooth: Smooth = 0.0,
    decay: DecayTo = "scan start",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Reconstruct a SPECT scan with a prior against noise (MAP by ordered subsets, De Pierro 1995).

    Like OSEM, but the image is also asked to be smooth (quadratic), to have few edges (TV), or to
    differ little from voxel to voxel relative to their sum (Nuyts et al. 2002, as in PET; its 26
    neighbours weigh more, so a smaller beta does). More iterations no longer mean more noise.
    """
    name = "acquire.spect.map"
    system = prepare(
        acquisition, name=name, attenuation=attenuation, resolution=resolution, scatter=scatter
    )
    operators, counts, added = system.subsets(subsets)
    sensitivities = [
        o.adjoint(np.ones_like(part)) for o, part in zip(operators, counts, strict=True)
    ]
    push = slope_of(prior, system.scan.domain, system.scan.grid.spacing, gamma=gamma)
    steps = [
        Late(*parts, push, beta)
        for parts in zip(operators, counts, added, sensitivities, strict=True)
    ]
    # From an even start the prior would hold back what the counts ask for.
    early = Progress(lambda f, m: progress(0.2 * f, m))
    begun = osem(
        operators, counts, iterations=2, x0=system.start(operators, counts), background=added,
        progress=early,
    )  # fmt: skip
    late = Progress(lambda f, m: progress(0.2 + 0.8 * f, m))
    found = maximised(
        steps, sensitivities, x0=begun.x, counts=float(system.counts.sum(dtype=np.float64)),
        total=system.counts.size, iterations=iterations, progress=late,
    )  # fmt: skip
    title = f"MAP {prior} {beta:g} {iterations}i{subsets}s"
    return system.image(found.x, name=title, smooth=smooth, decay=decay)
