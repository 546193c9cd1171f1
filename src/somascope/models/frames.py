"""Frames of a film, or examinations one after the other, as the slices of one volume.

A network that reads slices in order reads them the same way: what comes first is slice 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from somascope.core import Grid, Image
from somascope.core.errors import GeometryError


def is_film(image: Image) -> bool:
    """Whether it is one picture repeated along one leading axis that is not colour."""
    names = [a.name for a in image.axes]
    return image.grid.shape[0] == 1 and len(names) == 1 and names[0] != "channel"


def as_slices(image: Image) -> Image:
    """A film ``(t, 1, y, x)`` as a volume ``(t, y, x)``; other images as they are.

    The slices lie one in-plane pixel apart, which means nothing but keeps them in order.
    """
    if not is_film(image):
        return image
    count = image.data.shape[0]
    affine = image.grid.affine.copy()
    across = affine[:3, 0]
    affine[:3, 0] = across / np.linalg.norm(across) * image.grid.spacing[1]
    shape = (count, *image.grid.shape[1:])
    grid = Grid((shape[0], shape[1], shape[2]), affine, image.grid.frame_of_reference)
    return replace(image, data=image.data[:, 0], grid=grid, axes=())


def stacked(images: Sequence[Image]) -> Image:
    """Pictures in order (of one shape, gray) as the slices of one volume.

    Raises
    ------
    GeometryError
        None, or pictures of different shapes.
    """
    shapes = {i.data.reshape(-1, *i.grid.shape[1:]).shape for i in images}
    if len(shapes) != 1 or next(iter(shapes))[0] != 1:
        raise GeometryError(
            f"{len(images)} pictures of shapes {sorted(shapes)}; give gray pictures of one shape, "
            "in order"
        )
    from somascope.core import Axis

    data = np.stack([i.data.reshape(1, *i.grid.shape[1:]) for i in images])
    film = replace(images[0], data=data, axes=(Axis("t", tuple(map(float, range(len(images))))),))
    return as_slices(film)
