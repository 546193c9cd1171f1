"""Label maps in files that cannot say so (NIfTI, PNG): images of a few whole numbers, as masks."""

from __future__ import annotations

import numpy as np

from somascope.core import Image, Mask, Segment

MOST = 256
"""Different values; an image of more is no label map."""


def labelled(image: Image) -> Mask | None:
    """The image as a mask of one segment for each number above 0; None where it is none.

    A label map is one volume or slice of whole numbers from 0 (nothing) to 65535, at most `MOST`
    different ones. Segments are named ``Label n``.
    """
    if image.data.dtype.kind == "c" or any(n > 1 for n in image.data.shape[:-3]):
        return None
    data = image.data.reshape(image.grid.shape)
    few = np.unique(data[..., ::4, ::4])
    if few.size > MOST or not np.isfinite(few).all():
        return None
    numbers = np.unique(data)
    if numbers.size > MOST or not np.isfinite(numbers).all() or numbers[0] != 0:
        return None
    if numbers.size < 2 or numbers[-1] > 65535 or (numbers != np.rint(numbers)).any():
        return None
    kind = np.uint8 if numbers[-1] < 256 else np.uint16
    return Mask(
        data=data.astype(kind), grid=image.grid,
        segments=tuple(Segment(int(n), f"Label {int(n)}") for n in numbers[1:]),
        provenance=image.provenance, attributes=image.attributes,
    )  # fmt: skip
