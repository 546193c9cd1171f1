"""Maximum likelihood from sinograms: MLEM and ordered subsets."""

from __future__ import annotations

from somascope.acquire.likelihood import osem as ordered_subsets
from somascope.acquire.pet.choices import FieldOfView, Iterations, PostFilter, Psf, Size, Subsets
from somascope.acquire.pet.system import prepare
from somascope.core import QUIET, Acquisition, Image, Progress, operation


@operation("acquire.pet.osem")
def osem(
    acquisition: Acquisition,
    *,
    iterations: Iterations = 4,
    subsets: Subsets = 8,
    psf: Psf = 0.0,
    post_filter: PostFilter = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct PET sinograms by ordered-subsets expectation maximisation (OSEM).

    Hudson and Larkin (1994), with everything the acquisition knows in the model: normalisation,
    attenuation, time of flight, expected randoms and scatter, and the resolution ``psf``. Bq/ml
    where the scanner's sensitivity is known. Stop early or smooth: noise grows with iterations.
    """
    system = prepare(
        acquisition, operation_name="acquire.pet.osem", subsets=subsets, psf=psf, size=size,
        field_of_view=field_of_view,
    )  # fmt: skip
    found = ordered_subsets(
        system.operators, system.counts, iterations=iterations, background=system.backgrounds,
        progress=progress,
    )  # fmt: skip
    return system.image(
        found.x, method=f"OSEM {iterations} iterations {subsets} subsets", post_filter=post_filter
    )


@operation("acquire.pet.mlem")
def mlem(
    acquisition: Acquisition,
    *,
    iterations: Iterations = 40,
    psf: Psf = 0.0,
    post_filter: PostFilter = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct PET sinograms by maximum-likelihood expectation maximisation (MLEM).

    Shepp and Vardi (1982); as `acquire.pet.osem` with all data in every step. Every iteration
    raises the likelihood.
    """
    system = prepare(
        acquisition, operation_name="acquire.pet.mlem", psf=psf, size=size,
        field_of_view=field_of_view,
    )  # fmt: skip
    found = ordered_subsets(
        system.operators, system.counts, iterations=iterations, background=system.backgrounds,
        progress=progress,
    )  # fmt: skip
    return system.image(found.x, method=f"MLEM {iterations} iterations", post_filter=post_filter)
