"""Methods that know the noise: penalised weighted least squares, transmission ML, and TV."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.ct.choices import FieldOfView, MuWater, Size, Unit
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.normal import sees_all
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.sirt import largest_eigenvalue
from somascope.acquire.ct.system import System, prepare
from somascope.acquire.iteration import Solution, Watch
from somascope.acquire.operators import Adjoint, Compose, Diagonal, Gradient, norm
from somascope.acquire.priors import L1, TV, NonNegative
from somascope.acquire.proximal import fista, pdhg
from somascope.core import QUIET, Acquisition, Image, Operator, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Strength = Annotated[
    float,
    Param(
        "Total variation removed: the height of a noise edge, per gradient step",
        unit="HU",
        minimum=0.0,
        maximum=1000.0,
    ),
]


def counts_seen(acquisition: Acquisition, samples: Array) -> Array:
    """Photons behind each line integral: ``calibration["weights"]``, or ``exp(-y)`` up to a factor.

    Shape of ``samples``, float32, at least a thousandth of the largest... the rays that nothing
    passed keep a little weight, so that the problem stays solvable.
    """
    if "weights" in acquisition.calibration:
        weights = np.asarray(acquisition.calibration["weights"], np.float32)
        if weights.shape != samples.shape:
            raise ParameterError(
                f"calibration['weights'] has shape {weights.shape} for samples {samples.shape}"
            )
    else:
        weights = np.exp(-samples).astype(np.float32)
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.max() <= 0:
        raise ParameterError("calibration['weights'] holds negative values or NaN; give photons")
    return weights


def planes(system: System) -> int:
    """Axes over which neighbours are compared: slices by themselves, or the volume."""
    scan = system.scan
    return 2 if scan.domain[0] == 1 or scan.kind in ("ct.parallel", "ct.fan") else 3


def smooth_prior(system: System, strength: float, bound: float, *, iterations: int = 20) -> TV:
    """The total variation whose proximal step at ``1 / bound`` removes ``strength`` HU."""
    dz, dy, dx = system.scan.grid.spacing
    ndim = planes(system)
    return TV(
        strength * system.water / 1000 * bound,
        ndim=ndim,
        spacing=(dy, dx) if ndim == 2 else (dz, dy, dx),
        iterations=iterations,
        nonnegative=True,
        warm=True,
    )


def weighted(
    system: System,
    weights: Array,
    *,
    iterations: int,
    strength: float,
    x0: Array | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """``min_x>=0  1/2 sum w (y - A x)^2 + lambda TV(x)`` by accelerated gradients."""
    root = np.sqrt(weights / weights.max(), dtype=np.float32)
    operator = Compose(Diagonal(root), system.scan)
    bound = 1.05 * largest_eigenvalue(Compose(Adjoint(operator), operator))
    prior = smooth_prior(system, strength, bound)
    return fista(
        operator, root * system.samples, prior=prior, iterations=iterations, step=1 / bound,
        x0=x0, progress=progress,
    )  # fmt: skip


def transmission(
    system: System,
    weights: Array,
    *,
    iterations: int,
    progress: Progress = QUIET,
) -> Solution:
    """Maximum likelihood for transmitted Poisson counts (MLTR: Nuyts et al. 1998).

    ``x' = x + A^T (b - I) / A^T (a b)``, ``b = blank exp(-A x)`` expected and ``I`` measured
    counts, ``a = A 1``. Residuals: the deviance per ray, relative to the first.
    """
    scan: Any = system.scan
    blank = weights * np.exp(np.clip(system.samples, -20, 20))
    watch = Watch(iterations, progress=progress, name="MLTR")
    length = np.maximum(scan.forward(np.ones(scan.domain, np.float32)), 0)
    x = np.zeros(scan.domain, np.float32)
    first = 0.0
    while True:
        expected = blank * np.exp(-np.maximum(scan.forward(x), 0))
        tiny = 1e-6 * float(blank.max())
        logs = weights * np.log(np.maximum(weights, tiny) / np.maximum(expected, tiny))
        deviance = float(np.sum(expected - weights + logs, dtype=np.float64))
        first = first or abs(deviance) or 1.0
        curvature = scan.adjoint(length * expected)
        limit = 1e-4 * float(curvature.max())
        x += np.divide(
            scan.adjoint(expected - weights), curvature, out=np.zeros_like(x),
            where=curvature > limit,
        )  # fmt: skip
        np.maximum(x, 0, out=x)
        if watch.done(x, deviance / first):
            return watch.solution(x)


def begin(system: System) -> Array | None:
    """A filtered back projection to start from, where the geometry has one and sees the object.

    Weighted problems are badly conditioned: from zero, starved regions would take hundreds of
    iterations to fill.
    """
    scan = system.scan
    if not isinstance(scan, ParallelScan) or not sees_all(scan, system.samples):
        return None
    given = system.acquisition.with_samples(system.samples, operator=scan)
    return np.maximum(fbp(given, kernel="hann", unit="1/mm").data, 0)


@operation("acquire.ct.pwls")
def pwls(
    acquisition: Acquisition,
    *,
    model: Annotated[
        Literal["pwls", "mltr"],
        Param("Weighted least squares with total variation, or the likelihood of the counts alone"),
    ] = "pwls",
    iterations: Annotated[int, Param("Number of iterations", minimum=1, maximum=2000)] = 40,
    strength: Strength = 0.5,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a CT scan with each ray weighed by the photons it brought.

    The variance of a line integral is one over its photons, so rays through metal or hips count
    less (Thibault et al. 2007). Photons are ``calibration["weights"]`` (kept by
    ``acquire.ct.normalise``) or ``exp(-y)``.
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.pwls", size=size, field_of_view=field_of_view,
        mu_water=mu_water, toeplitz=False,
    )  # fmt: skip
    weights = counts_seen(acquisition, system.samples)
    if model == "mltr":
        found = transmission(system, weights, iterations=iterations, progress=progress)
    else:
        found = weighted(
            system, weights, iterations=iterations, strength=strength, x0=begin(system),
            progress=progress,
        )  # fmt: skip
    return system.image(found.x, kernel=model.upper(), unit=unit)


def total_variation(
    system: System, *, strength: float, iterations: int, progress: Progress = QUIET
) -> Solution:
    """``min_x>=0  1/2 |y - A x|^2 + lambda TV(x)``.

    By the primal-dual method of Chambolle and Pock; with the Toeplitz normal operator by
    accelerated gradients, whose only cost is two Fourier transforms. Both find the same image.
    """
    scan = system.scan
    if system.normal is not None:
        normal: Operator = system.normal
        bound = largest_eigenvalue(normal)
        prior = smooth_prior(system, strength, bound)
        return fista(
            scan, system.samples, prior=prior, normal=normal, step=1 / bound,
            iterations=iterations, progress=progress,
        )  # fmt: skip
    bound = norm(scan, iterations=10) ** 2
    ndim = planes(system)
    steps = np.asarray(scan.grid.spacing[3 - ndim :])
    gradient = Gradient(tuple(scan.domain), ndim=ndim, spacing=tuple(steps / steps.min()))
    penalty = L1(strength * system.water / 1000 * bound, axis=0)
    return pdhg(
        scan, system.samples, terms=[(gradient, penalty)], prior=NonNegative(),
        iterations=iterations, balance=_balance(system), progress=progress,
    )  # fmt: skip


def _balance(system: System) -> float:
    """Ratio of primal to dual steps: an image of size mu against line integrals of size one."""
    return (
        float(system.water)
        * float(np.sqrt(np.prod(system.scan.domain)))
        / max(float(np.linalg.norm(system.samples)) / np.sqrt(system.samples.size), 1e-6)
        / float(np.sqrt(system.samples.size))
    )


@operation("acquire.ct.tv")
def tv(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Number of iterations", minimum=1, maximum=5000)] = 100,
    strength: Strength = 0.5,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a CT scan with the least total variation beside the misfit.

    For few views and for noise: flat regions become flat, edges stay. ``strength`` is what counts
    as noise.
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.tv", size=size, field_of_view=field_of_view,
        mu_water=mu_water,
    )  # fmt: skip
    found = total_variation(system, strength=strength, iterations=iterations, progress=progress)
    return system.image(found.x, kernel="TV", unit=unit)
