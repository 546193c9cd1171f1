"""Compressed sensing: fewer samples than unknowns, held by what images are known to be like.

All minimise ``1/2 |A x - y|^2 + weight prior(x)`` by accelerated proximal gradients (FISTA) with
the fast normal operator. Weights are relative to the brightest pixel of ``A^H y``, so that one
value serves every scanner. Lustig, Donoho, Pauly 2007 (wavelets); Block, Uecker, Frahm 2007 (total
variation); Trzasko, Manduca 2011 (locally low rank).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.descent import PlaneTV, SparseWavelets, descend
from somascope.acquire.mri.normal import (
    Frames,
    SenseNormal,
    back_projected,
    normal_operators,
)
from somascope.acquire.mri.results import MriScan, Part, image_of
from somascope.acquire.mri.sense import Maps, share, with_maps
from somascope.acquire.priors import LocallyLowRank, Prior
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Weight = Annotated[
    float,
    Param("Weight of the prior, relative to the brightest pixel", minimum=0.0, maximum=1.0,
          step=0.001),
]  # fmt: skip
Iterations = Annotated[int, Param("Steps of FISTA", minimum=1, maximum=2000)]
Tolerance = Annotated[
    float,
    Param("Relative change at which it stops", minimum=0.0, maximum=0.1, advanced=True),
]


@operation("acquire.mri.l1wavelet")
def l1wavelet(
    acquisition: Acquisition,
    *,
    weight: Weight = 0.005,
    iterations: Iterations = 100,
    wavelet: Annotated[Literal["haar", "db2", "db4", "sym4"], Param("Orthogonal wavelet")] = "db4",
    levels: Annotated[int, Param("Levels of decomposition", minimum=1, maximum=8)] = 4,
    tolerance: Tolerance = 1e-4,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct with a sparse wavelet transform (L1-wavelet compressed sensing)."""
    scan = with_maps(acquisition, "acquire.mri.l1wavelet", maps=maps)
    data = regularised(
        acquisition.samples, scan, iterations=iterations, tolerance=tolerance, progress=progress,
        prior=lambda peak: SparseWavelets(weight * peak, wavelet=wavelet, levels=levels,
                                          ndim=scan.dimensions),
    )  # fmt: skip
    return image_of(acquisition, data, part=part)


@operation("acquire.mri.tv")
def tv(
    acquisition: Acquisition,
    *,
    weight: Weight = 0.003,
    iterations: Iterations = 80,
    tolerance: Tolerance = 1e-4,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct with small total variation: flat regions with sharp borders."""
    scan = with_maps(acquisition, "acquire.mri.tv", maps=maps)
    spacing = scan.grid.spacing[-scan.dimensions :]
    data = regularised(
        acquisition.samples, scan, iterations=iterations, tolerance=tolerance, progress=progress,
        # The dual of the last step is a good start: few inner steps do.
        prior=lambda peak: PlaneTV(weight * peak, ndim=scan.dimensions, spacing=spacing,
                              iterations=8, warm=True),
    )  # fmt: skip
    return image_of(acquisition, data, part=part)


@operation("acquire.mri.lowrank")
def lowrank(
    acquisition: Acquisition,
    *,
    weight: Weight = 0.05,
    iterations: Iterations = 60,
    block: Annotated[int, Param("Block width", unit="pixel", minimum=2, maximum=64)] = 8,
    tolerance: Tolerance = 1e-4,
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a series (time, echoes, b values) whose blocks are of low rank."""
    scan = with_maps(acquisition, "acquire.mri.lowrank", maps=maps)
    if not scan.axes or np.prod([len(a.values) for a in scan.axes]) < 2:
        raise ParameterError(
            "acquire.mri.lowrank needs several images of one place (a leading axis such as t or "
            "echo); for a single image take acquire.mri.l1wavelet or acquire.mri.tv"
        )
    ndim = 3 if scan.grid.shape[0] > 1 else 2
    data = regularised(
        acquisition.samples, scan, iterations=iterations, tolerance=tolerance, progress=progress,
        joint=True, prior=lambda peak: LocallyLowRank(weight * peak, block=block, ndim=ndim),
    )  # fmt: skip
    return image_of(acquisition, data, part=part)


def regularised(
    samples: Array,
    scan: MriScan,
    *,
    prior: Callable[[float], Prior],
    iterations: int = 100,
    tolerance: float = 0.0,
    joint: bool = False,
    progress: Progress = QUIET,
) -> Array:
    """Image ``(*leading, nz, ny, nx)``, complex64, of a scan with sensitivities.

    Parameters
    ----------
    prior
        Makes the prior, given the brightest pixel of ``A^H y``.
    joint
        One prior over all repetitions; otherwise each is solved by itself.

    Notes
    -----
    Samples off the lattice are weighted with their density, which makes the few steps enough.
    """
    weights: Array | None = None
    if not isinstance(scan, CartesianScan):
        from somascope.acquire.mri.gridding import density, scaled

        weights = density(scan) if scan.density is None else scaled(scan.density, scan)
    grams = normal_operators(scan, weights=weights)
    back = back_projected(samples, scan, grams, weights=weights)
    flat = back.reshape(-1, *scan.grid.shape)
    made = prior(float(np.abs(flat).max()))
    bound = 1 / max(g.bound() for g in set(grams))
    if joint:
        x = _solved(Frames(grams), flat, made, bound, iterations, tolerance, progress)
        return x.reshape(back.shape)
    out = np.empty_like(flat)
    for i, (b, gram) in enumerate(zip(flat, grams, strict=True)):
        part = share(progress, i, len(flat))
        step = bound if len(flat) == 1 else 1 / gram.bound()
        # A warm prior remembers its last problem: each frame starts anew.
        fresh = made if i == 0 else prior(float(np.abs(flat).max()))
        out[i] = _solved(gram, b, fresh, step, iterations, tolerance, part)
    return out.reshape(back.shape)


def _solved(
    gram: SenseNormal | Frames,
    back: Array,
    prior: Prior,
    step: float,
    iterations: int,
    tolerance: float,
    progress: Progress,
) -> Array:
    return descend(
        gram, back, prior=prior, step=step, iterations=iterations, tolerance=tolerance,
        progress=progress,
    ).x  # fmt: skip
