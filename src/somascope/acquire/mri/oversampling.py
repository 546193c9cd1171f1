"""The readout's oversampling: needed by the receiver, not by the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.fourier import cropped, to_image, to_kspace
from somascope.acquire.mri.samples import cartesian
from somascope.core import Acquisition, operation
from somascope.core.errors import ParameterError


@operation("acquire.mri.oversampling")
def oversampling(acquisition: Acquisition) -> Acquisition:
    """Cut the readout to the image's field: half the samples, the same image.

    Exact for complete readouts, since the readout is one Fourier transform.

    Raises
    ------
    ParameterError
        Readouts with missing samples, or not evenly sampled ones (EPI ramps): correct them first.
    """
    samples, scan = cartesian(acquisition, "acquire.mri.oversampling")
    nx = scan.grid.shape[2]
    if "readout" in acquisition.calibration:
        raise ParameterError(
            "the readouts are not evenly sampled (calibration 'readout'); run acquire.mri.epi first"
        )
    if scan.mask is not None and (scan.mask.any(axis=-1) != scan.mask.all(axis=-1)).any():
        raise ParameterError(
            "some readouts have missing samples; fill them with acquire.mri.pocs first"
        )
    size = (nx,)
    kept = dict(acquisition.calibration)
    for key in ("navigator", "reference"):
        if key in kept:
            kept[key] = to_kspace(cropped(to_image(kept[key], axes=(-1,)), size), axes=(-1,))
    mask = None if scan.mask is None else scan.mask[..., :1]
    described = {**scan.describe(), "matrix": (*scan.matrix[:2], nx), "mask": mask}
    small = to_kspace(cropped(to_image(samples, axes=(-1,)), size), axes=(-1,))
    return replace(
        acquisition,
        samples=small.astype(np.complex64),
        operator=CartesianScan(**described),
        calibration=kept,
    )
