"""Connected components of a binary volume: their sizes, the small ones out, the holes filled."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from somascope.core.grid import Array

Connectivity: TypeAlias = Literal[6, 18, 26]


def label(mask: Array, *, connectivity: Connectivity = 26) -> tuple[Array, Array]:
    """Number the components of a bool volume ``(nz, ny, nx)``.

    Returns
    -------
    tuple
        The labels ``(nz, ny, nx)`` int32, 1 for the largest component, 2 for the next (equal ones
        in order of their first voxel), 0 outside; and the voxel counts ``(n,)`` in that order.
        ``connectivity`` 6, 18 or 26 is faces, also edges, also corners; in a single slice 6 means
        the 4 and 18 or 26 the 8 neighbours.
    """
    from scipy import ndimage

    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    labels = np.empty(mask.shape, np.int32)
    n = int(ndimage.label(mask, ndimage.generate_binary_structure(3, rank), output=labels))  # pyright: ignore[reportArgumentType]
    counts = np.bincount(labels.reshape(-1), minlength=n + 1)[1:]
    order = np.argsort(-counts, kind="stable")
    renumber = np.zeros(n + 1, np.int32)
    renumber[order + 1] = np.arange(1, n + 1, dtype=np.int32)
    return renumber[labels], counts[order]


def fill_holes(mask: Array, *, connectivity: Connectivity = 26) -> Array:
    """``mask`` with every background region that does not reach the border added.

    The background is connected the other way round from the object (6 where the object is 26), as
    digital topology wants it. A single slice (nz = 1) is filled in its plane.
    """
    from scipy import ndimage

    flat = mask.shape[0] == 1
    background = ~(mask[0] if flat else mask)
    rank = background.ndim if connectivity == 6 else 1
    structure = ndimage.generate_binary_structure(background.ndim, rank)
    labels = np.empty(background.shape, np.int32)
    n = int(ndimage.label(background, structure, output=labels))  # pyright: ignore[reportArgumentType]
    outside = np.zeros(n + 1, bool)
    outside[0] = True
    for axis in range(background.ndim):
        for end in (0, -1):
            outside[np.take(labels, end, axis=axis)] = True
    holes = ~outside[labels]
    return mask | (holes[None] if flat else holes)
