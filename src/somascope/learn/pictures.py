"""Pictures for reports: what was seen, with outlines and boxes, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from somascope.core import Image
from somascope.core.grid import Array
from somascope.models.prepare import oriented

TRUTH, FOUND = (90, 220, 120), (255, 120, 60)


def plane_of(image: Image, labels: Sequence[Array] = ()) -> tuple[Array, list[Array]]:
    """The slice with most truth (else the middle one) as ``(y, x, 3)`` uint8, and labels there.

    A volume is turned so that the slice is axial: the patient's right is on the left.
    """
    data = image.data if [a.name for a in image.axes] == ["channel"] else image.data.reshape(
        1, *image.grid.shape
    )  # fmt: skip
    maps = [np.asarray(m).reshape(image.grid.shape) for m in labels]
    if image.grid.shape[0] > 1:
        from dataclasses import replace

        data = oriented(replace(image, data=data[0], axes=())).data[None]
        maps = [oriented(replace(image, data=m, axes=())).data for m in maps]
    counts = maps[0].reshape(maps[0].shape[0], -1).astype(bool).sum(axis=1) if maps else None
    z = int(counts.argmax()) if counts is not None and counts.any() else data.shape[1] // 2
    picture = data[:, z].astype(np.float32)
    low, high = np.percentile(picture, (0.5, 99.5))
    picture = np.clip((picture - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = np.repeat(picture, 3, axis=0) if len(picture) == 1 else picture
    return np.moveaxis(picture, 0, -1).astype(np.uint8), [m[z] for m in maps]


def enlarged(picture: Array, *, least: int = 192) -> tuple[Array, int]:
    """Whole-number magnification so that the longer side has ``least`` pixels or more."""
    factor = max(-(-least // max(picture.shape[:2])), 1)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1), factor


def outlined(image: Image, truth: Array, found: Array) -> bytes:
    """Green: the border of the truth; orange: of what was found."""
    picture, (t, f) = plane_of(image, (truth, found))
    big, factor = enlarged(picture)
    for labels, colour in ((t, TRUTH), (f, FOUND)):
        values = labels.repeat(factor, axis=0).repeat(factor, axis=1)
        edge = np.zeros(values.shape, bool)
        for axis in (0, 1):
            step = np.diff(values.astype(np.int16), axis=axis) != 0
            edge[tuple(slice(0, -1) if a == axis else slice(None) for a in (0, 1))] |= step
        big[edge] = colour
    return png(big)


def boxed(image: Image, truth: Array, found: Array) -> bytes:
    """Boxes, rows of corners and more: green the truth, orange what was found.

    Of a volume they are seen on the axial slice that true boxes cover most of.
    """
    if image.grid.shape[0] > 1:
        return outlined(image, _painted(image, truth), _painted(image, found))
    picture, _ = plane_of(image)
    big, factor = enlarged(picture, least=320)
    for boxes, colour in ((truth, TRUTH), (found, FOUND)):
        for y0, x0, y1, x1 in np.asarray(boxes)[:, :4]:
            rows = np.clip([round(y0 * factor), round(y1 * factor) - 1], 0, big.shape[0] - 1)
            columns = np.clip([round(x0 * factor), round(x1 * factor) - 1], 0, big.shape[1] - 1)
            big[rows[0] : rows[1] + 1, columns] = colour
            big[rows, columns[0] : columns[1] + 1] = colour
    return png(big)


def _painted(image: Image, boxes: Array) -> Array:
    """A number for each box ``(n, 6+)`` of a volume, in the voxels it covers by half or more."""
    labels = np.zeros(image.grid.shape, np.uint8)
    for n, ends in enumerate(np.asarray(boxes)[:, :6]):
        z0, y0, x0, z1, y1, x1 = np.maximum(np.rint(ends), 0).astype(int)
        labels[z0:z1, y0:y1, x0:x1] = n % 255 + 1
    return labels


def plain(image: Image) -> bytes:
    """The image alone."""
    return png(enlarged(plane_of(image)[0])[0])


def heat(values: Array, *, below: Array | None = None, opacity: float = 0.5) -> Array:
    """Values ``(y, x)`` as colours from black over red and yellow to white, laid on ``below``."""
    low, high = float(values.min()), float(values.max())
    t = ((values - low) / max(high - low, 1e-9))[..., None]
    colour = np.clip(np.concatenate([3 * t, 3 * t - 1, 3 * t - 2], axis=-1), 0, 1) * 255
    if below is None:
        return colour.astype(np.uint8)
    mix = opacity * t
    return (below * (1 - mix) + colour * mix).astype(np.uint8)


def png(picture: Array) -> bytes:
    """``(y, x)`` or ``(y, x, 3)`` uint8 as a PNG file."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
