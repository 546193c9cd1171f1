"""What two contrasts have in common: how alike a place is to its neighbours.

The modality independent neighbourhood descriptor (MIND, Heinrich et al., Med. Image Anal. 16 (2012)
1423-1435): one channel for each of the nearest voxels, between 0 and 1, whatever the contrast.
"""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array
from somascope.process.filters import smooth

SIGMA = 0.8
"""Width of the patches that are compared, voxels."""


def mind(volume: Array) -> Array:
    """Descriptors ``(6, nz, ny, nx)`` of a volume (4 of a slice); NaN where it has no value."""
    flat = [a for a in range(3) if volume.shape[a] > 1]
    missing = np.isnan(volume)
    known = np.where(missing, np.float32(0), volume)
    width = [SIGMA if n > 1 else 0.0 for n in volume.shape]
    out = np.empty((2 * len(flat), *volume.shape), np.float32)
    for k, (axis, way) in enumerate((a, w) for a in flat for w in (-1, 1)):
        other = np.roll(known, way, axis=axis)
        edge = [slice(None)] * 3
        edge[axis] = slice(0, 1) if way > 0 else slice(-1, None)
        other[tuple(edge)] = known[tuple(edge)]
        out[k] = smooth((known - other) ** 2, (width[0], width[1], width[2]))
    # The patches' own variation tells what counts as alike; bounded, where there is none.
    scale = out.mean(axis=0)
    middle = float(scale.mean())
    np.clip(scale, 0.02 * middle + 1e-12, 50 * middle + 1e-12, out=scale)
    out -= out.min(axis=0)
    np.exp(-out / scale, out=out)
    out[:, missing] = np.nan
    return out
