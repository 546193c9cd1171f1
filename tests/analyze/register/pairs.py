"""Pairs whose map is known: a head of blobs and texture, seen again through a map."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from somascope.core import Grid, Image
from somascope.core.grid import Array


def head(shape=(44, 48, 40), spacing=(3.0, 3.0, 3.0), seed=0) -> tuple[Array, Grid]:
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    r = np.sqrt((z / 0.75) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2)
    sigma = [2.0 if n > 1 else 0 for n in shape]
    texture = gaussian_filter(rng.standard_normal(shape), sigma)
    texture /= texture.std()
    inside = 1 / (1 + np.exp((r - 0.9) * 25))
    shell = np.exp(-(((r - 1.05) / 0.06) ** 2))
    lump = np.exp(-20 * ((z - 0.2) ** 2 + (y + 0.3) ** 2 + (x - 0.25) ** 2))
    volume = inside * (0.5 + 0.15 * texture + 0.4 * lump) + 0.5 * shell
    grid = Grid.from_spacing(shape, spacing, origin=(-60.0, -70.0, -65.0))
    return volume.astype(np.float32), grid


@dataclass
class Pair:
    fixed: Image
    moving: Image
    way: Array
    inside: Array

    def error(self, mapping) -> Array:
        """mm by which ``mapping`` misses, at points inside the head."""
        grid = self.fixed.grid
        index = np.argwhere(self.inside)[::7]
        x = grid.to_world(index)
        y = np.asarray(mapping(x))
        at = grid.to_index(y).T
        back = y + np.stack([map_coordinates(w, at, order=1, mode="nearest") for w in self.way], -1)
        return np.linalg.norm(back - x, axis=1)


def turned(grid: Grid, angles, shift) -> Array:
    """4x4 in world mm about the middle; angles in degrees about L, P, S."""
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = middle + np.asarray(shift) - matrix[:3, :3] @ middle
    return matrix


def pair(
    *, angles=(0, 0, 0), shift=(0, 0, 0), bend=0.0, noise=0.01, contrast=None, seed=0, **size
) -> Pair:
    """The moving image is the fixed one at ``back(y) = matrix y + smooth bend``."""
    volume, grid = head(seed=seed, **size)
    rng = np.random.default_rng(seed + 100)
    back = turned(grid, angles, shift)
    sigma = [5.0 if n > 1 else 0 for n in grid.shape]
    d = np.stack([gaussian_filter(rng.standard_normal(grid.shape), sigma) for _ in range(3)])
    d *= bend / np.abs(d).max()
    flat = [a for a in range(3) if grid.shape[a] == 1]
    for a in flat:
        normal = grid.direction[:, a]
        d -= np.einsum("i,j,jzyx->izyx", normal, normal, d)
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    y = grid.to_world(np.stack(axes, -1))
    x = y @ back[:3, :3].T + back[:3, 3] + np.moveaxis(d, 0, -1)
    at = np.moveaxis(grid.to_index(x), -1, 0)
    seen = map_coordinates(volume, at, order=3, mode="constant")
    if contrast is not None:
        seen = contrast(seen)
    fixed = volume + noise * rng.standard_normal(volume.shape)
    seen = seen + noise * rng.standard_normal(volume.shape)
    return Pair(
        Image(fixed.astype(np.float32), grid, "MR"),
        Image(seen.astype(np.float32), grid, "MR"),
        np.moveaxis(x - y, -1, 0),
        volume > 0.3,
    )
