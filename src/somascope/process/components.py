"""Connected components of a binary volume: their sizes, and the holes they enclose."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process import runs

Connectivity: TypeAlias = Literal[6, 18, 26]

_RANK = {6: 1, 18: 2, 26: 3}


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
    inside = mask if is_tensor(mask) else mask.astype(bool, copy=False)
    return runs.label(inside, _RANK[connectivity])


def bounds(numbered: Array, count: int) -> list[tuple[float, ...]]:
    """The box around each of the labels 1 to ``count`` of ``(nz, ny, nx)``: z0, y0, x0, z1, y1, x1
    in voxel edges (the first voxel alone is 0 to 1).
    """
    from scipy.ndimage import find_objects

    some: list[Any] = find_objects(numbered, max_label=count)
    return [(*(float(s.start) for s in o), *(float(s.stop) for s in o)) for o in some]


def fill_holes(mask: Array, *, connectivity: Connectivity = 26) -> Array:
    """``mask`` with every background region that does not reach the border added.

    The background is connected the other way round from the object (6 where the object is 26), as
    digital topology wants it. A single slice (nz = 1) is filled in its plane.
    """
    inside = mask.astype(bool, copy=False)
    flat = mask.shape[0] == 1
    rank = (2 if flat else 3) if connectivity == 6 else 1
    labels, counts = runs.label(~inside, rank)
    outside = np.zeros(counts.size + 1, bool)
    outside[0] = True
    for axis in range(1 if flat else 0, 3):
        for end in (0, -1):
            outside[np.take(labels, end, axis=axis)] = True
    return inside | ~outside[labels]
