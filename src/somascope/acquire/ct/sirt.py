"""Methods that take all views at once: SIRT and CGLS."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.ct.choices import FieldOfView, MuWater, Positive, Relaxation, Size, Unit
from somascope.acquire.ct.system import System, prepare
from somascope.acquire.iteration import Callback, Solution, Watch
from somascope.acquire.krylov import cg
from somascope.acquire.krylov import cgls as least_squares
from somascope.core import QUIET, Acquisition, Image, Operator, Param, Progress, operation
from somascope.core.grid import Array


def largest_eigenvalue(normal: Operator, *, iterations: int = 6) -> float:
    """Of a positive operator whose first eigenvector is smooth, from above by a small margin."""
    x = np.ones(normal.domain, np.float32)
    x /= np.linalg.norm(x)
    value = 0.0
    for _ in range(iterations):
        x = normal.forward(x)
        value = float(np.linalg.norm(x))
        x /= value or 1.0
    return 1.02 * value


def reciprocal(sums: Array, *, floor: float = 1e-3) -> Array:
    """``1 / sums``; 0 where they are below ``floor`` of their largest: rays that miss the grid."""
    limit = floor * float(sums.max())
    return np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > limit)


def simultaneous(
    system: System,
    *,
    iterations: int,
    relaxation: float = 1.0,
    nonnegative: bool = True,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """``x' = x + relaxation C A^T R (y - A x)`` (Gilbert 1972; Gregor and Benson 2008).

    ``R`` and ``C`` are the reciprocals of row and column sums. With the Toeplitz normal operator
    all rays weigh the same, ``C R = 1 / |A|^2``, and no projection is made inside the loop.

    Residuals: ``|A^T (y - A x)| / |A^T y|``; tolerance: the same.
    """
    watch = Watch(iterations, tolerance, callback, progress, "SIRT")
    scan, y = system.scan, system.samples
    normal = system.normal
    if normal is not None:
        back = scan.adjoint(y)
        step = np.float32(relaxation / largest_eigenvalue(normal))
        rows = columns = None
    else:
        rows = reciprocal(scan.forward(np.ones(scan.domain, np.float32)))
        columns = reciprocal(scan.adjoint(np.ones(scan.range, np.float32)))
        back, step = scan.adjoint(rows * y), np.float32(relaxation)
    size = float(np.linalg.norm(back)) or 1.0
    x = np.zeros(scan.domain, np.float32)
    while True:
        if normal is not None:
            update = back - normal.forward(x)
        else:
            update = scan.adjoint(rows * (y - scan.forward(x)))
        residual = float(np.linalg.norm(update)) / size
        if columns is not None:
            update *= columns
        update *= step
        x += update
        if nonnegative:
            np.maximum(x, 0, out=x)
        if watch.done(x, residual):
            return watch.solution(x)


@operation("acquire.ct.sirt")
def sirt(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Number of iterations", minimum=1, maximum=5000)] = 50,
    relaxation: Relaxation = 1.5,
    nonnegative: Positive = True,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct any CT scan by simultaneous iterative reconstruction (SIRT).

    Every iteration corrects all pixels with the misfit of all rays; the more iterations, the
    sharper and noisier. Parallel beams that see the whole object cost two Fourier transforms per
    iteration.
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.sirt", size=size, field_of_view=field_of_view,
        mu_water=mu_water,
    )  # fmt: skip
    found = simultaneous(
        system, iterations=iterations, relaxation=relaxation, nonnegative=nonnegative,
        progress=progress,
    )  # fmt: skip
    return system.image(found.x, kernel="SIRT", unit=unit)


@operation("acquire.ct.cgls")
def cgls(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Number of iterations", minimum=1, maximum=1000)] = 15,
    damping: Annotated[
        float,
        Param("Weight of the image's own energy, as a share of |A|^2", minimum=0.0, maximum=1.0),
    ] = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct any CT scan by conjugate gradients on the least-squares problem (CGLS).

    Reaches in ten iterations what SIRT needs a hundred for; stop early on noisy data. ``damping``
    is Tikhonov's.
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.cgls", size=size, field_of_view=field_of_view,
        mu_water=mu_water,
    )  # fmt: skip
    if system.normal is not None:
        normal: Operator = system.normal
        if damping > 0:
            normal = _Damped(normal, damping * largest_eigenvalue(normal))
        back = system.scan.adjoint(system.samples)
        found = cg(normal, back, iterations=iterations, progress=progress)
    else:
        shift = 0.0
        if damping > 0:
            from somascope.acquire.operators import norm

            shift = damping * norm(system.scan, iterations=8) ** 2
        found = least_squares(
            system.scan, system.samples, iterations=iterations, damping=shift, progress=progress
        )
    return system.image(found.x, kernel="CGLS", unit=unit)


class _Damped:
    """``N + s``."""

    def __init__(self, normal: Operator, shift: float) -> None:
        self.normal, self.shift = normal, np.float32(shift)
        self.domain = self.range = tuple(normal.domain)

    def forward(self, x: Array) -> Array:
        return self.normal.forward(x) + self.shift * x

    def adjoint(self, y: Array) -> Array:
        return self.forward(y)
