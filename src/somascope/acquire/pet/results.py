"""From reconstructed activity to an `Image` that keeps its patient, study and place."""

from __future__ import annotations

import numpy as np

from somascope.acquire.pet.model import is_calibrated, scalar
from somascope.core import Acquisition, Image
from somascope.core.grid import Array, Grid

CORRECTIONS = (
    ("normalisation", "NORM"), ("attenuation", "ATTN"), ("scatter", "SCAT"), ("randoms", "RAN"),
    ("live_time", "DTIM"), ("decay", "DECY"),
)  # fmt: skip
"""What is in the calibration, and its word in Corrected Image (PS3.3 C.8.9.1.1.5)."""


def activity_image(acquisition: Acquisition, data: Array, grid: Grid, *, method: str) -> Image:
    """Image of ``data`` (nz, ny, nx), float32, modality PT.

    In Bq/ml where the acquisition has a ``sensitivity``, else unit ``1``. ``method`` is kept as
    ReconstructionMethod, the corrections that were there as CorrectedImage.
    """
    facts = dict(acquisition.attributes)
    done = [word for name, word in CORRECTIONS if name in acquisition.calibration]
    facts["CorrectedImage"] = list(dict.fromkeys([*facts.get("CorrectedImage", []), *done]))
    facts["ReconstructionMethod"] = method
    if "DECY" in done:
        facts["DecayFactor"] = round(1 / scalar(acquisition, "decay", 1.0), 6)
    if "DTIM" in done:
        facts["DeadTimeFactor"] = round(1 / scalar(acquisition, "live_time", 1.0), 6)
    if "ATTN" in done:
        facts.setdefault("AttenuationCorrectionMethod", "measured")
    return Image(
        data=np.ascontiguousarray(data, np.float32),
        grid=grid,
        modality="PT",
        unit="Bq/ml" if is_calibrated(acquisition) else "1",
        provenance=acquisition.provenance,
        attributes=facts,
    )
