"""Registrations whose worth is known: good ones, and failures planted on purpose.

A pair is made from one picture: ``moving(y) = seen(source(back(y)))`` with a known ``back``, so
that the error of any map ``x -> y`` is ``|back(map(x)) - x|``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from benchmarks.register.case import shared
from somascope.analyze.register import Registered, apply, compose, invert, points, register
from somascope.core import Grid, Image, Warp
from somascope.core.grid import Array, Float
from somascope.phantoms import brain_grid, brain_mr, thorax_ct, thorax_grid
from somascope.process.resample import with_spacing

Seen = Callable[[Array], Array]


@dataclass(frozen=True)
class Pair:
    """Two images and the map back from the moving to the fixed one."""

    fixed: Image
    moving: Image
    back: Warp
    inside: Array

    def error(self, warp: Warp) -> float:
        """Median mm by which ``warp`` misses inside the body."""
        x = self.fixed.grid.to_world(np.argwhere(self.inside)[::11])
        return float(np.median(np.linalg.norm(points(self.back, points(warp, x)) - x, axis=1)))

    @property
    def edge(self) -> float:
        spacing = np.asarray(self.fixed.grid.spacing)
        return float(spacing[np.asarray(self.fixed.grid.shape) > 1].max())


@dataclass(frozen=True)
class Case:
    """A registration to be judged: what kind it is, and whether it failed."""

    kind: str
    failed: bool
    fixed: Image
    moving: Image
    warp: Registered


def texture(grid: Grid, rng: np.random.Generator, mm: float) -> Array:
    """Smooth noise of unit spread."""
    wide = np.asarray(grid.shape) > 1
    sigma = np.where(wide, mm / np.asarray(grid.spacing), 0.0)
    values = gaussian_filter(rng.standard_normal(grid.shape), sigma)
    return values / values.std()


def blobs(seed: int, shape: tuple[int, int, int] = (32, 36, 30), edge: float = 5.0) -> Image:
    """A lopsided body with a shell, lumps and texture; another one for each seed."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    a, b, c = rng.uniform(0.62, 0.82, 3)
    grid = Grid.from_spacing(shape, (edge,) * 3, origin=(-60.0, -70.0, -65.0))
    bumps = 0.06 * texture(grid, rng, 25.0)
    r = np.sqrt((z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2) + bumps
    volume = 0.5 / (1 + np.exp((r - 0.9) * 25)) * (1 + 0.3 * texture(grid, rng, 2 * edge))
    volume += 0.5 * np.exp(-(((r - 1.05) / 0.06) ** 2))
    for _ in range(4):
        at = rng.uniform(-0.5, 0.5, 3)
        away = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        volume += rng.uniform(-0.3, 0.5) * np.exp(-away / rng.uniform(0.02, 0.08)) * (r < 0.9)
    return Image(volume.astype(np.float32), grid, "MR")


def head(weighting: str, edge: float = 6.0) -> Image:
    """The brain phantom, lightly blurred as a scanner does."""
    n = [round(d / edge) for d in (200, 220, 190)]
    made = brain_mr(weighting, brain_grid(n, (edge,) * 3), noise=0.01)  # pyright: ignore[reportArgumentType]
    return _bare(made)


def chest(edge: float = 10.0) -> Image:
    """The thorax phantom."""
    n = [round(d / edge) for d in (340, 280, 400)]
    return _bare(thorax_ct(thorax_grid(n, (edge,) * 3)))


def _bare(image: Image) -> Image:
    """Values and place alone: no names that would choose a preset."""
    grid = Grid(image.grid.shape, image.grid.affine)
    return Image(np.asarray(image.data, np.float32).reshape(grid.shape), grid, image.modality)


def real(path: str, edge: float, modality: str = "MR") -> Image:
    """A volume of the development data at ``edge`` mm; `FileNotFoundError` without it."""
    from somascope.io import read

    there = shared(*path.split("/"))
    if there is None:
        raise FileNotFoundError(path)
    found = read(there)
    image = found if isinstance(found, Image) else found[0]
    data = np.asarray(image.data, np.float32)
    if image.axis_names[:1] == ("channel",):
        data = data.mean(axis=0)
    plain = Image(data.reshape(image.grid.shape), image.grid, modality)
    now = np.asarray(plain.grid.spacing)
    wanted = np.where(np.asarray(plain.grid.shape) > 1, np.maximum(edge, now), now)
    if (wanted <= 1.01 * now).all():
        return plain
    dz, dy, dx = (float(d) for d in wanted)
    coarse = with_spacing(plain.grid, (dz, dy, dx))
    sigma = np.where(wanted > now, 0.42 * wanted / now, 0.0)
    soft = plain.with_data(gaussian_filter(plain.data, sigma))
    return apply(soft, Warp(matrix=np.eye(4)), Grid(coarse.shape, coarse.affine))


def turned(grid: Grid, angles: Float, shift: Float) -> Float:
    """4x4 about the middle of ``grid``; degrees about, and mm along, L, P, S."""
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    if 1 in grid.shape:
        normal = grid.direction[:, grid.shape.index(1)]
        angles = normal * float(np.linalg.norm(angles))
        shift = shift - normal * float(normal @ shift)
        turn = Rotation.from_rotvec(angles, degrees=True).as_matrix()
    else:
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = middle + shift - turn @ middle
    return matrix


def bend(grid: Grid, rng: np.random.Generator, most: float, mm: float = 25.0) -> Array:
    """A smooth displacement ``(3, nz, ny, nx)`` up to ``most`` mm."""
    d = np.stack([texture(grid, rng, mm) for _ in range(3)])
    d *= most / max(float(np.abs(d).max()), 1e-9)
    for axis in [a for a in range(3) if grid.shape[a] == 1]:
        normal = grid.direction[:, axis]
        d -= np.einsum("i,j,jzyx->izyx", normal, normal, d)
    return d.astype(np.float32)


def pair(
    source: Image, rng: np.random.Generator, *, degrees: float = 15.0, mm: float = 12.0,
    most: float = 0.0, width: float = 25.0, noise: float = 0.02, seen: Seen | None = None,
    other: Image | None = None,
) -> Pair:  # fmt: skip
    """``source`` and what it looks like after a random turn, shift and bend up to ``most`` mm.

    ``width``: mm over which the bend is smooth.

    ``other``: the same body in another contrast, from which the moving image is made.
    """
    grid = source.grid
    direction = rng.standard_normal(3)
    angles = rng.uniform(0.3, 1) * degrees * direction / np.linalg.norm(direction)
    direction = rng.standard_normal(3)
    shift = rng.uniform(0.3, 1) * mm * direction / np.linalg.norm(direction)
    field = bend(grid, rng, most, width) if most else None
    back = Warp(matrix=turned(grid, angles, shift), grid=grid if most else None, displacement=field)
    made = apply(other or source, back, grid)
    spread = float(np.ptp(np.percentile(source.data, (1, 99))))

    def noisy(image: Image) -> Image:
        values = np.asarray(image.data, np.float32)
        extra = noise * float(np.ptp(np.percentile(values, (1, 99))))
        return image.with_data(
            values + (extra * rng.standard_normal(values.shape)).astype(np.float32)
        )

    moving = made if seen is None else made.with_data(seen(np.asarray(made.data)))
    inside = np.asarray(source.data) > np.percentile(source.data, 5) + 0.15 * spread
    return Pair(noisy(source), noisy(moving), back, inside)


def as_registered(warp: Warp) -> Registered:
    """A warp as `register` would hand it to be judged."""
    back = None
    if warp.displacement is not None and warp.grid is not None:
        whole = invert(warp)
        if whole.displacement is not None:
            linear = np.asarray(warp.matrix[:3, :3])
            at = whole.grid
            assert at is not None
            index = np.stack(np.meshgrid(*[np.arange(n) for n in at.shape], indexing="ij"), -1)
            x = at.to_world(index)
            y = x @ linear.T + warp.matrix[:3, 3]
            back = np.ascontiguousarray(np.moveaxis(points(whole, y) - x, -1, 0), np.float32)
    return Registered(
        matrix=np.asarray(warp.matrix), grid=warp.grid, displacement=warp.displacement,
        backward=back,
    )  # fmt: skip


def truth(pair: Pair) -> Registered:
    """The exact map, sampled on the fixed grid."""
    there = invert(pair.back, grid=pair.fixed.grid)
    return as_registered(there)


def moved(pair: Pair, matrix: Float) -> Registered:
    """The exact map after a wrong step of the fixed points."""
    wrong = Warp(matrix=matrix)
    made = compose(wrong, invert(pair.back), grid=pair.fixed.grid)
    return as_registered(made)


def judged(kind: str, pair: Pair, warp: Registered) -> Iterator[Case]:
    """The case where its error says good (0.7 voxels) or failed (three); nothing between."""
    error = pair.error(warp)
    if error < 0.7 * pair.edge or error > 3 * pair.edge:
        yield Case(kind, error > 3 * pair.edge, pair.fixed, pair.moving, warp)


def run(pair: Pair, preset: str, start: Warp | None = None) -> Registered:
    """The engine's answer."""
    return register(pair.fixed, pair.moving, preset, start=start)


def inverted(values: Array) -> Array:
    """Dark becomes bright within the body; air stays dark."""
    top = float(np.percentile(values, 99))
    return np.where(values > 0.1 * top, 1.2 * top - values, values).astype(np.float32)
