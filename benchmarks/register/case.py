"""Pairs for the registration benchmarks: heads seen again through a known map."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from somascope.core import Grid, Image
from somascope.phantoms import brain_grid, brain_mr
from somascope.process.resample import resample_to

Array = np.ndarray
Mapping: TypeAlias = Callable[[Array], Array]
"""Points ``(n, 3)`` of the fixed frame, LPS mm, to points of the moving frame."""

ANGLES, SCALES, SHIFT = (4.0, -3.0, 6.0), (1.04, 0.97, 1.03), (5.0, -4.0, 6.0)


def shared(*parts: str) -> Path | None:
    """A file or folder of the development data, or None, said on stderr."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("SOMASCOPE_SHARED_DATA") or beside).joinpath(*parts)
    if path.exists():
        return path
    print(f"register: {'/'.join(parts)} is not there (SOMASCOPE_SHARED_DATA)", file=sys.stderr)
    return None


def volume(path: Path, n: int, *, extent: float = 225.28) -> Image:
    """An image file on a cube of ``n`` voxels and ``extent`` mm about its middle; 0 to about 1."""
    from somascope.io import read

    image = read(path)
    assert isinstance(image, Image)
    edge = extent / n
    middle = image.grid.to_world((np.asarray(image.grid.shape) - 1) / 2)
    grid = Grid.from_spacing((n, n, n), (edge,) * 3, origin=tuple(middle - edge * (n - 1) / 2))
    return scaled(resample_to(image, grid))


def phantom(n: int, sequence: Any = "T1") -> Image:
    """The head phantom on a cube of ``n`` voxels; 0 to about 1."""
    edge = 225.28 / n
    return scaled(brain_mr(sequence, brain_grid((n, n, n), (edge,) * 3), noise=0))


def scaled(image: Image) -> Image:
    """Values over their 99.5 %, float32; what it says about its contrast is kept."""
    data = np.asarray(image.data, np.float32)
    return replace(image, data=data / np.float32(np.percentile(data, 99.5)), modality="MR")


@dataclass(frozen=True)
class Known:
    """A pair whose truth is known: ``back`` takes moving points to fixed ones."""

    fixed: Image
    moving: Image
    back: Mapping
    inside: Array

    def lattice(self, step: int) -> tuple[Array, Array]:
        """Points of every ``step``-th voxel ``(lz, ly, lx, 3)``, and which lie in the head."""
        cut = tuple(slice(None, None, step if n > 1 else 1) for n in self.fixed.grid.shape)
        axes = [np.arange(n)[c] for n, c in zip(self.fixed.grid.shape, cut, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return self.fixed.grid.to_world(index), self.inside[cut]

    def missed(self, mapping: Mapping, *, step: int = 3) -> Array:
        """mm by which ``mapping`` misses, at every ``step``-th voxel of the head."""
        places, inside = self.lattice(step)
        x = places[inside]
        return np.linalg.norm(self.back(mapping(x)) - x, axis=1)


def folding(mapping: Mapping, grid: Grid, *, step: int = 3) -> float:
    """Share of lattice points, in per cent, at which ``mapping`` turns space inside out."""
    flat = [a for a in range(3) if grid.shape[a] > 1]
    cut = [np.arange(0, n, step if n > 1 else 1) for n in grid.shape]
    x = grid.to_world(np.stack(np.meshgrid(*cut, indexing="ij"), axis=-1))
    y = mapping(x.reshape(-1, 3)).reshape(x.shape)
    away = np.linalg.inv(grid.affine[:3, :3])
    slopes = np.stack([np.gradient(y @ away.T, axis=a) for a in flat], axis=-1)[..., flat, :]
    return 100 * float((np.linalg.det(slopes) <= 0).mean())


def turned(grid: Grid, angles: Any, shift: Any, scales: Any = (1, 1, 1)) -> Array:
    """4x4 about the middle of the grid; degrees about L, P, S, then mm."""
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, :3] = turn @ np.diag(np.asarray(scales, float))
    matrix[:3, 3] = middle + np.asarray(shift) - matrix[:3, :3] @ middle
    return matrix


def known(
    fixed: Image,
    source: Image | None = None,
    *,
    matrix: Array,
    bend: float = 7.0,
    width: float = 10.0,
    noise: float = 0.02,
    seed: int = 0,
) -> Known:
    """``source`` (the fixed image itself, or another contrast on its grid) seen through a map.

    ``matrix`` and then a random field of at most ``bend`` mm a component, smooth over ``width``
    mm (standard deviation); noise of ``noise`` is added to both.
    """
    grid = fixed.grid
    rng = np.random.default_rng(seed)
    source = source or fixed
    sigma = [width / s if n > 1 else 0.0 for n, s in zip(grid.shape, grid.spacing, strict=True)]
    d = np.stack([gaussian_filter(rng.standard_normal(grid.shape), sigma) for _ in range(3)])
    d *= bend / np.maximum(np.abs(d).max(axis=(1, 2, 3), keepdims=True), 1e-9)
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    y = grid.to_world(np.stack(axes, axis=-1))
    x = y @ matrix[:3, :3].T + matrix[:3, 3] + np.moveaxis(d, 0, -1)
    at = np.moveaxis(grid.to_index(x), -1, 0)
    seen = map_coordinates(source.data, at, order=3, mode="constant")

    def noisy(values: Array) -> Array:
        return (values + noise * rng.standard_normal(values.shape)).astype(np.float32)

    def back(points: Array) -> Array:
        index = grid.to_index(points).T
        bent = [map_coordinates(c, index, order=1, mode="nearest") for c in d]
        return points @ matrix[:3, :3].T + matrix[:3, 3] + np.stack(bent, axis=-1)

    return Known(
        fixed.with_data(noisy(fixed.data)), source.with_data(noisy(seen)), back,
        np.asarray(fixed.data > 0.15),
    )  # fmt: skip
