"""`acquire.ct.scatter`: the part of the signal that came round a corner, estimated and removed."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.system import scan_of
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def scattered(primary: Array, *, amplitude: float, sigma: tuple[float, ...]) -> Array:
    """Scatter of a primary transmission: ``amplitude (P (-ln P)) * gaussian(sigma bins)``.

    ``primary`` is ``(views, *detector)``, 1 where nothing absorbs. The forward-scattered share of
    a ray grows with what it lost and what is left (Ohnesorge et al. 1999; Sun and Star-Lack 2010).
    """
    from scipy.ndimage import gaussian_filter

    source = primary * np.maximum(-np.log(np.maximum(primary, 1e-6)), 0)
    spread = gaussian_filter(source, (0.0, *sigma), mode="nearest", truncate=4.0)
    return (amplitude * spread).astype(np.float32)


@operation("acquire.ct.scatter")
def scatter(
    acquisition: Acquisition,
    *,
    amplitude: Annotated[
        float, Param("Scatter per lost signal: depends on the scanner, calibrate it",
                     minimum=0.0, maximum=1.0)
    ] = 0.05,
    width: Annotated[
        float, Param("Standard deviation of the scatter kernel on the detector", unit="mm",
                     minimum=0.1, maximum=1000.0)
    ] = 60.0,
    iterations: Annotated[
        int, Param("How often it is estimated from the corrected signal", minimum=1, maximum=20)
    ] = 6,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Estimate scatter by a kernel and subtract it from the signal, before the logarithm again.

    Solves ``I = P + S(P)`` for the primary ``P`` by repeated substitution; a ray keeps at least a
    fifth of its signal.
    """
    samples = line_integrals(acquisition, operation_name="acquire.ct.scatter")
    scan: Any = scan_of(acquisition, operation_name="acquire.ct.scatter")
    spacing = getattr(scan, "spacing", None)
    if spacing is None:
        raise ParameterError(
            f"a {scan.kind} scan does not say the spacing of its detector; scatter needs it"
        )
    steps = tuple(float(s) for s in np.atleast_1d(spacing))
    detector = samples.ndim - 1
    if detector == 2 and len(steps) == 1:
        steps = (0.0, steps[0])  # slices that are scanned one by one do not scatter into others
    sigma = tuple(width / s if s > 0 else 0.0 for s in steps[-detector:])
    total = np.exp(-samples)
    primary = total.copy()
    for _ in progress.over(range(iterations), "estimating scatter"):
        cloud = scattered(primary, amplitude=amplitude, sigma=sigma)
        primary = np.maximum(total - cloud, np.float32(0.2) * total)
    return acquisition.with_samples(-np.log(primary))
