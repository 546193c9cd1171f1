"""One image in the other's contrast: the mean of the second where the first has a value.

With it two contrasts are compared as one (the correlation ratio's regression, Roche et al.,
MICCAI 1998). Good where each tissue of the fixed image has one brightness in the moving one.
"""

from __future__ import annotations

import numpy as np

from somascope.analyze.register import affine_kernels as kernels
from somascope.analyze.register.affine import stage
from somascope.core.grid import Array, Float, Grid


def alike(
    fixed: tuple[Array, Grid], moving: tuple[Array, Grid], matrix: Float, *, edge: float
) -> Array:
    """The fixed volume with the values that the moving one has there, under ``matrix`` (4x4).

    Both scaled to about 0..1; compared at voxels of ``edge`` mm.
    """
    here = stage(fixed, moving, edge)
    table = np.zeros((kernels.BINS, kernels.BINS))
    kernels.joint(here.f, here.points, here.volume, here.into(matrix), 0, len(here.f), table)
    levels = np.arange(kernels.BINS) / (kernels.BINS - 1)
    count = table.sum(axis=1)
    seen = count > 1e-3 * count.sum() / kernels.BINS
    mean = (table @ levels)[seen] / count[seen]
    if seen.sum() < 2:
        return fixed[0]
    return np.interp(fixed[0], levels[seen], mean).astype(np.float32)
