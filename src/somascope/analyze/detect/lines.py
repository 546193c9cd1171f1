"""Centre lines of branching tubes, branch by branch.

From a root the cheapest way to the farthest voxel leads through the middle (cost: the inverse
square of the distance to the wall); what lies about it is covered, and the farthest voxel that is
not is the end of the next branch (Sato et al., TEASAR, Pacific Graphics 2000, 281-289). Thinning by
voxels, the other way, shortens branches of even width (see `process.skeleton`).
"""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array

COVER = 1.5
"""Distances to the wall within which a branch covers what is about it, and two voxels more."""

WINDOW = 3.0
"""Voxels along a line over which a radius is told."""


def centre_lines(inside: Array, depth: Array, spacing: tuple[float, float, float]) -> Array:
    """Voxels (bool) of the centre lines of the bool volume ``inside``, every body by itself.

    ``depth`` is the distance to the wall in mm, as `process.distance.distance` gives it.
    """
    from scipy.ndimage import find_objects

    from somascope.process.components import label as components

    parts, _ = components(inside)
    out = np.zeros(inside.shape, bool)
    for number, box in enumerate(find_objects(parts), start=1):
        body = parts[box] == number
        out[box] |= _branches(body, np.where(body, depth[box], 0), spacing)
    return out


def _branches(body: Array, depth: Array, spacing: tuple[float, float, float]) -> Array:
    from scipy.spatial import KDTree
    from skimage.graph import MCP_Geometric

    plain = np.where(body, 1.0, np.inf)
    cost = np.where(body, (depth.max() / np.maximum(depth, 1e-6)) ** 2, np.inf)
    deepest = tuple(int(i) for i in np.unravel_index(int(depth.argmax()), depth.shape))
    away, _ = MCP_Geometric(plain, sampling=spacing).find_costs([deepest])
    root = _farthest(away, body)
    away, _ = MCP_Geometric(plain, sampling=spacing).find_costs([root])
    search = MCP_Geometric(cost, sampling=spacing)
    search.find_costs([root])
    lines = np.zeros(body.shape, bool)
    left = np.argwhere(body)
    order = np.argsort(-away[tuple(left.T)], kind="stable")
    left = left[order]
    margin, edge = 2 * max(spacing), np.asarray(spacing)
    while len(left):
        way = np.array(search.traceback(tuple(int(i) for i in left[0])))
        fresh = way[~lines[tuple(way.T)]]
        lines[tuple(way.T)] = True
        if len(fresh):
            near, which = KDTree(fresh * edge).query(left * edge)
            left = left[near > COVER * depth[tuple(fresh[which].T)] + margin]
        else:
            left = left[1:]
    return _trimmed(lines, depth)


def radii(inside: Array, lines: Array, spacing: tuple[float, float, float]) -> Array:
    """Radius in mm at each voxel of ``lines`` (in `numpy.argwhere` order), ``(n,)``.

    That of the disk whose points are as far from its middle, in the mean square, as the voxels
    around from the line: distances to the wall would come out half a voxel or more too small where
    the line does not run through the very middle.
    """
    from scipy.spatial import KDTree

    edge = np.asarray(spacing)
    points = np.argwhere(lines) * edge
    tree = KDTree(points)
    away, which = tree.query(np.argwhere(inside) * edge)
    number = np.bincount(which, minlength=len(points)).astype(np.float64)
    square = np.bincount(which, away**2, minlength=len(points))
    out = np.empty(len(points))
    for k, near in enumerate(tree.query_ball_point(points, WINDOW * float(edge.max()))):
        out[k] = np.sqrt(2 * square[near].sum() / max(number[near].sum(), 1))
    return np.maximum(out, 0.5 * float(edge.min()))


def _farthest(away: Array, body: Array) -> tuple[int, int, int]:
    far = np.where(body & np.isfinite(away), away, -1)
    z, y, x = np.unravel_index(int(far.argmax()), far.shape)
    return int(z), int(y), int(x)


def _trimmed(lines: Array, depth: Array) -> Array:
    """Without the bits that lead from a corner of an end to the middle."""
    typical = float(np.median(depth[lines]))
    kept = lines & (depth >= 0.5 * typical)
    return kept if kept.any() else lines
