"""Gaussian smoothing of a run, 6 mm: Somascope and nilearn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.fmri_case import nifti, run_of
from benchmarks.turns import compared
from somascope.acquire.fmri.smooth import gaussian

SPACING = (4.0, 3.5, 3.5)


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Full width at half maximum 6 mm in voxels of 3.5 x 3.5 x 4 mm."""
    from nilearn.image import smooth_img
    from scipy.ndimage import gaussian_filter

    shape, scans, rounds = ((6, 12, 12), 40, 2) if small else ((36, 64, 64), 200, 5)
    data, _ = run_of(scans, shape)
    image = nifti(data, SPACING)
    sigma = [6.0 / 2.354820045 / s for s in SPACING]
    exact = gaussian_filter(data[0].astype(np.float64), sigma)
    yield compared(
        "fmri.smooth", f"{shape[2]}x{shape[1]}x{shape[0]}x{scans}, 6 mm", package="nilearn",
        rounds=rounds,
        ours=lambda: gaussian(data, 6.0, SPACING),
        peer=lambda: np.asarray(smooth_img(image, 6.0).dataobj).transpose(3, 2, 1, 0),
        quality=lambda a: float(np.abs(a[0] - exact).max() / exact.max()),
        metric="greatest relative error to double precision",
    )  # fmt: skip
