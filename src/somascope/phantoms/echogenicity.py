"""What ultrasound sees of a tissue phantom: how strongly each place scatters."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Grid
from somascope.core.image import Image
from somascope.phantoms.patient import facts, source, uid

STUDY = "tissue"
CYSTS = (
    (-8.0, 14.0, 3.0, 0.0),
    (8.0, 14.0, 3.0, 2.0),
    (-8.0, 28.0, 4.0, 0.0),
    (8.0, 28.0, 4.0, 0.5),
)
"""Of `tissue_us`: lateral place, depth and radius in mm, and amplitude (tissue has 1)."""
WIRES = ((0.0, 8.0), (0.0, 14.0), (0.0, 20.0), (0.0, 26.0), (0.0, 32.0), (-4.0, 21.0), (-3.0, 21.0))
"""Of `tissue_us`: lateral place and depth in mm of thin bright reflectors."""


def tissue_us(*, size: int = 256, width: float = 36.0) -> Image:
    """Amplitude of scatterers in a plane of tissue, float32 ``(1, size, size)``.

    Square pixels over ``width`` mm from a depth of 2 mm on: two empty cysts, a bright and a faint
    lesion, a column of wires on the middle line and two wires side by side on its left.

    Parameters
    ----------
    size
        Rows and columns.
    width
        mm.
    """
    step = width / size
    y, x = np.mgrid[:size, :size] * step
    x, y = x - (size - 1) / 2 * step, y + 2.0
    tissue = np.ones((size, size), np.float32)
    for at, deep, radius, value in CYSTS:
        tissue[np.hypot(x - at, y - deep) < radius] = value
    for at, deep in WIRES:
        tissue[np.hypot(x - at, y - deep) < max(0.2, 0.75 * step)] = 25.0
    grid = Grid.from_spacing(
        (1, size, size), (5.0, step, step), origin=(-(size - 1) / 2 * step, 2.0, 0.0),
        frame_of_reference=uid("frame", STUDY),
    )  # fmt: skip
    return Image(
        data=tissue[None], grid=grid, modality="US", provenance=source("tissue_us"),
        attributes={**facts(STUDY, "Phantom^Tissue", "Tissue with cysts", time="140000"),
                    "BodyPartExamined": "BREAST"},
    )  # fmt: skip
