"""Maximum likelihood: MLEM and OSEM with attenuation, resolution and scatter in the model."""

from __future__ import annotations

from somascope.acquire import likelihood
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
from somascope.core import QUIET, Acquisition, Image, Progress, operation


def _run(
    acquisition: Acquisition, name: str, *, iterations: int, subsets: int, attenuation: bool,
    resolution: bool, scatter: bool, smooth: float, decay: str, progress: Progress,
) -> Image:  # fmt: skip
    system = prepare(
        acquisition, name=name, attenuation=attenuation, resolution=resolution, scatter=scatter
    )
    operators, counts, added = system.subsets(subsets)
    found = likelihood.osem(
        operators, counts, iterations=iterations, x0=system.start(operators, counts),
        background=added, progress=progress,
    )  # fmt: skip
    title = f"{'OSEM' if subsets > 1 else 'MLEM'} {iterations}i" + (
        f"{subsets}s" if subsets > 1 else ""
    )
    return system.image(found.x, name=title, smooth=smooth, decay=decay)


@operation("acquire.spect.mlem")
def mlem(
    acquisition: Acquisition,
    *,
    iterations: Iterations = 30,
    attenuation: Attenuation = True,
    resolution: Resolution = True,
    scatter: Scatter = True,
    smooth: Smooth = 0.0,
    decay: DecayTo = "scan start",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a SPECT scan by maximum likelihood (MLEM, Shepp and Vardi 1982).

    All views at once; sharper and noisier with every iteration. The result is in Bq/ml where the
    camera is calibrated (acquire.spect.calibrate), else in counts per second and ml.
    """
    return _run(
        acquisition, "acquire.spect.mlem", iterations=iterations, subsets=1,
        attenuation=attenuation, resolution=resolution, scatter=scatter, smooth=smooth,
        decay=decay, progress=progress,
    )  # fmt: skip


@operation("acquire.spect.osem")
def osem(
    acquisition: Acquisition,
    *,
    iterations: Iterations = 5,
    subsets: Subsets = 8,
    attenuation: Attenuation = True,
    resolution: Resolution = True,
    scatter: Scatter = True,
    smooth: Smooth = 0.0,
    decay: DecayTo = "scan start",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a SPECT scan by ordered subsets (OSEM, Hudson and Larkin 1994).

    Attenuation along each ray, the collimator's response layer by layer, and scatter as a
    background are in the model; where attenuation is known, the start is an even body. The result
    is in Bq/ml where the camera is calibrated (acquire.spect.calibrate), else in counts per second
    and ml.
    """
    return _run(
        acquisition, "acquire.spect.osem", iterations=iterations, subsets=subsets,
        attenuation=attenuation, resolution=resolution, scatter=scatter, smooth=smooth,
        decay=decay, progress=progress,
    )  # fmt: skip
