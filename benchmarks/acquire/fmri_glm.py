"""Linear model and one t contrast of a run: Somascope and nilearn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.fmri_case import nifti, run_of
from benchmarks.turns import compared
from somascope.acquire.fmri.model import fit
from somascope.acquire.fmri.statistics import evaluate


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """OLS, and AR(1) with nilearn's rule, to the z map; then ours with the bias taken off."""
    import pandas as pd
    from nilearn.glm.contrasts import compute_contrast
    from nilearn.glm.first_level import FirstLevelModel, run_glm

    shape, scans, rounds = ((6, 12, 12), 60, 2) if small else ((36, 64, 64), 200, 5)
    data, made = run_of(scans, shape)
    names = list(made.names)
    weights = np.zeros(len(names))
    weights[:2] = 1, -1
    table = pd.DataFrame(made.matrix, columns=names)
    image = nifti(data, (4.0, 3.5, 3.5))
    mask = nifti(np.ones((1, *shape), np.uint8), (4.0, 3.5, 3.5)).slicer[..., 0]
    flat, inside = data.reshape(scans, -1), np.ones(data[0].size, bool)
    case = f"{shape[2]}x{shape[1]}x{shape[0]}x{scans}, {len(names)} columns"

    def ours(noise: str) -> np.ndarray:
        return evaluate(fit(flat, made, mask=inside, noise=noise), weights).z

    def peer(noise: str) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FirstLevelModel(
                mask_img=mask, noise_model=noise, signal_scaling=False, minimize_memory=True
            ).fit(image, design_matrices=table)
            z = model.compute_contrast(weights, output_type="z_score")
        return np.asarray(z.dataobj).transpose(2, 1, 0).ravel()

    exact = {}
    for noise in ("ols", "ar1"):
        labels, results = run_glm(flat[:, :2000].astype(np.float64), made.matrix, noise_model=noise)
        exact[noise] = compute_contrast(labels, results, weights, stat_type="t").z_score()
    for noise, mine in (("ols", "ols"), ("ar1", "ar1_plain"), ("ar1", "ar1")):
        yield compared(
            "fmri.glm", f"{case}, {noise}" + (" without bias" if mine == "ar1" else ""),
            package="nilearn", rounds=rounds,
            ours=lambda m=mine: ours(m), peer=lambda n=noise: peer(n),
            quality=lambda z, n=noise: float(np.abs(z[:2000] - exact[n]).max()),
            metric="greatest difference of z to double precision",
        )  # fmt: skip
