"""Methods that visit the views in subsets: SART, OS-SART and OS-ASD-POCS."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.ct.choices import FieldOfView, MuWater, Positive, Relaxation, Size, Unit
from somascope.acquire.ct.sirt import reciprocal
from somascope.acquire.ct.system import System, of_views, prepare, rays_along, view_count
from somascope.acquire.iteration import Callback, Solution, Watch
from somascope.core import QUIET, Acquisition, Image, Param, Progress, Scan, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

KEPT_BYTES = 1 << 29
"""Column sums of the subsets are kept up to this size, made again beyond."""


def visiting_order(count: int) -> list[int]:
    """0 ... count-1 so that successive ones are far apart (van der Corput's sequence)."""
    bits = max(1, (count - 1).bit_length())
    turned = (int(format(i, f"0{bits}b")[::-1], 2) for i in range(1 << bits))
    return [i for i in turned if i < count]


class Subsets:
    """A scan in ``count`` interleaved subsets of views, with the sums SART divides by."""

    def __init__(self, scan: Scan, samples: Array, count: int) -> None:
        views = view_count(scan)
        if not 1 <= count <= views:
            raise ParameterError(f"{count} subsets of {views} views; give 1 to {views}")
        base = rays_along(scan)
        self.scans: list[Scan] = []
        self.parts: list[Array] = []
        self.rows: list[Array] = []
        self._keep = count * int(np.prod(scan.domain)) * 4 <= KEPT_BYTES
        self._columns: dict[int, Array] = {}
        ones = np.ones(scan.domain, np.float32)
        for k in visiting_order(count):
            which = np.arange(k, views, count)
            part = of_views(base, which)
            self.scans.append(part)
            self.parts.append(samples[which])
            self.rows.append(reciprocal(part.forward(ones), floor=1e-2))

    def sweep(self, x: Array, *, relaxation: float, nonnegative: bool) -> float:
        """Correct ``x`` in place with every subset once; ``|y - A x|^2`` met on the way."""
        energy = 0.0
        for k, scan in enumerate(self.scans):
            gap = self.parts[k] - scan.forward(x)
            # Where a ray misses the grid there is nothing to explain its value.
            gap[self.rows[k] == 0] = 0
            energy += float(np.vdot(gap, gap))
            update = scan.adjoint(self.rows[k] * gap)
            update *= self._column(k)
            update *= np.float32(relaxation)
            x += update
            if nonnegative:
                np.maximum(x, 0, out=x)
        return energy

    def _column(self, k: int) -> Array:
        if k not in self._columns:
            scan = self.scans[k]
            made = reciprocal(scan.adjoint(np.ones(scan.range, np.float32)), floor=1e-2)
            if not self._keep:
                return made
            self._columns[k] = made
        return self._columns[k]


def ordered(
    system: System,
    *,
    subsets: int,
    iterations: int,
    relaxation: float,
    decay: float = 1.0,
    nonnegative: bool = True,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    progress: Progress = QUIET,
) -> Solution:
    """`Subsets.sweep` over and over; the relaxation shrinks by ``decay`` each time.

    Residuals and tolerance: ``|y - A x| / |y|`` as met during the sweep.
    """
    parts = Subsets(system.scan, system.samples, subsets)
    watch = Watch(iterations, tolerance, callback, progress, "SART")
    size = float(np.linalg.norm(system.samples)) or 1.0
    x = np.zeros(system.scan.domain, np.float32)
    while True:
        energy = parts.sweep(x, relaxation=relaxation, nonnegative=nonnegative)
        relaxation *= decay
        if watch.done(x, float(np.sqrt(energy)) / size):
            return watch.solution(x)


@operation("acquire.ct.sart")
def sart(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Sweeps over all views", minimum=1, maximum=500)] = 3,
    relaxation: Relaxation = 0.5,
    nonnegative: Positive = True,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct any CT scan by the simultaneous algebraic reconstruction technique (SART).

    The image is corrected view by view (Andersen and Kak 1984), in an order that keeps successive
    views far apart: a few sweeps suffice.
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.sart", size=size, field_of_view=field_of_view,
        mu_water=mu_water, toeplitz=False,
    )  # fmt: skip
    found = ordered(
        system, subsets=view_count(system.scan), iterations=iterations, relaxation=relaxation,
        nonnegative=nonnegative, progress=progress,
    )  # fmt: skip
    return system.image(found.x, kernel="SART", unit=unit)


@operation("acquire.ct.os_sart")
def os_sart(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Sweeps over all views", minimum=1, maximum=500)] = 10,
    subsets: Annotated[int, Param("Number of subsets of views", minimum=1, maximum=20000)] = 20,
    relaxation: Relaxation = 0.9,
    nonnegative: Positive = True,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct any CT scan by SART with ordered subsets of views.

    One subset is SIRT, one view per subset is SART; in between it is nearly as quick per sweep as
    SART and as calm as SIRT (Wang and Jiang 2004).
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.os_sart", size=size, field_of_view=field_of_view,
        mu_water=mu_water, toeplitz=False,
    )  # fmt: skip
    found = ordered(
        system, subsets=min(subsets, view_count(system.scan)), iterations=iterations,
        relaxation=relaxation, nonnegative=nonnegative, progress=progress,
    )  # fmt: skip
    return system.image(found.x, kernel="OS-SART", unit=unit)


def variation_slope(x: Array, *, ndim: int) -> Array:
    """Gradient of the smoothed isotropic total variation over the last ``ndim`` axes."""
    from somascope.acquire.operators import Gradient

    gradient = Gradient(x.shape, ndim=ndim)
    d = gradient.forward(x)
    small = np.float32(1e-4 * float(np.abs(x).max()) + 1e-12)
    d /= np.sqrt(np.sum(d * d, axis=0) + small * small)
    return gradient.adjoint(d)


@operation("acquire.ct.asd_pocs")
def asd_pocs(
    acquisition: Acquisition,
    *,
    iterations: Annotated[int, Param("Sweeps over all views", minimum=1, maximum=500)] = 20,
    subsets: Annotated[int, Param("Number of subsets of views", minimum=1, maximum=20000)] = 20,
    relaxation: Relaxation = 1.0,
    steps: Annotated[
        int, Param("Steps down the total variation after each sweep", minimum=1, maximum=200)
    ] = 20,
    smoothing: Annotated[
        float,
        Param("Length of these steps, as a share of the sweep's change", minimum=0.0, maximum=1.0),
    ] = 0.95,
    misfit: Annotated[
        float,
        Param("Relative misfit of the samples that counts as noise", minimum=0.0, maximum=1.0),
    ] = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a CT scan with few views: smallest total variation that explains the samples.

    OS-ASD-POCS: sweeps of ordered subsets alternate with steepest descent on the total variation,
    whose steps adapt to the change the sweep made (Sidky and Pan, Phys. Med. Biol. 53, 2008).
    """
    system = prepare(
        acquisition, operation_name="acquire.ct.asd_pocs", size=size, field_of_view=field_of_view,
        mu_water=mu_water, toeplitz=False,
    )  # fmt: skip
    scan, samples = system.scan, system.samples
    parts = Subsets(scan, samples, min(subsets, view_count(scan)))
    energy = float(np.linalg.norm(samples)) or 1.0
    ndim = 2 if scan.domain[0] == 1 or scan.kind in ("ct.parallel", "ct.fan") else 3
    x = np.zeros(scan.domain, np.float32)
    step = 0.0
    watch = Watch(iterations, progress=progress, name="ASD-POCS")
    while True:
        before = x.copy()
        gap = np.sqrt(parts.sweep(x, relaxation=relaxation, nonnegative=True)) / energy
        moved = float(np.linalg.norm(x - before))
        # As long as the samples are not explained, the descent may not undo what the sweep did.
        step = smoothing * moved if gap > misfit else min(step, smoothing * moved)
        for _ in range(steps):
            slope = variation_slope(x, ndim=ndim)
            x -= np.float32(step / steps / max(float(np.linalg.norm(slope)), 1e-30)) * slope
        relaxation *= 0.995
        if watch.done(x, float(gap)):
            return system.image(np.maximum(x, 0), kernel="ASD-POCS", unit=unit)
