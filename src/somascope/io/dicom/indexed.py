"""Colour images as numbers of a palette: PALETTE COLOR (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5)."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom.quantise import Stored


def indexed(image: Image, table: Array | None) -> Stored | None:
    """Where in ``table`` each colour of an image stands; None where it cannot be said exactly.

    Parameters
    ----------
    image
        Colours of bytes: ``(..., 3, ..., nz, ny, nx)`` with the axis ``channel``.
    table
        ``(n, 3)`` uint8. Of equal colours the first one counts.

    Returns
    -------
    Stored
        ``values`` has the image's shape without its channels, uint8 up to 256 colours, else
        uint16. None without a table, for a grey image or one of more than bytes, and where a colour
        is not in the table.
    """
    names = [a.name for a in image.axes]
    if table is None or "channel" not in names or image.data.dtype != np.uint8:
        return None
    codes, first = np.unique(_code(table, -1), return_index=True)
    wanted = _code(image.data, names.index("channel"))
    place = np.minimum(np.searchsorted(codes, wanted), codes.size - 1)
    if not np.array_equal(codes[place], wanted):
        return None
    values = first[place].astype(np.uint8 if len(table) <= 256 else np.uint16)
    return Stored(values, 1.0, 0.0, exact=True)


def _code(colours: Array, axis: int) -> Array:
    """One number for each colour."""
    r, g, b = (np.take(colours, k, axis=axis).astype(np.uint32) for k in range(3))
    return r << 16 | g << 8 | b
