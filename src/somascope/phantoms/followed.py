"""Two examinations of one thorax: lesions that grew, went or came, under a known deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.finding import Code, Mask, Segment
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.noise import blurred, gaussian
from somascope.phantoms.patient import facts, source, uid
from somascope.phantoms.thorax import LIVER_LESION, NODULE, thorax_grid, thorax_shapes

LESION = Code("52988006", "SCT", "Lesion")

SITES: tuple[tuple[float, float, float], ...] = (
    (-88, -18, 70), (-84, 38, 34), (96, 26, 68), (-92, -28, 8), (92, -16, 62), (104, 30, 14),
    (-66, 46, 72), (-106, 20, -4),
)  # fmt: skip
"""Places in the lungs, LPS mm, clear of the large vessels, no two nearer than 40 mm."""

BIRTHPLACES: tuple[tuple[float, float, float], ...] = ((-108, 2, 44), (98, 0, 30), (74, 44, 44))
"""Where new lesions appear."""

DAYS = ("20250703", "20260102")


@dataclass(frozen=True, eq=False)
class Motion:
    """Where a point of the current examination lay in the prior one: ``x -> R x + t + waves``.

    ``turn`` degrees about the axis of the body, ``shift`` in mm, ``bend``: the largest displacement
    in mm by three waves of ``length`` mm (their phases by ``seed``).
    """

    turn: float = 3.0
    shift: tuple[float, float, float] = (4.0, -3.0, 5.0)
    bend: float = 5.0
    length: float = 200.0
    seed: int = 0

    def to_prior(self, points: Float) -> Float:
        """LPS mm ``(..., 3)`` of the current frame in the prior one."""
        angle = np.deg2rad(self.turn)
        about = np.array(
            [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        )
        rng = np.random.default_rng(self.seed)
        moved = points @ about.T + np.asarray(self.shift)
        for axis in range(3):
            wave = rng.normal(size=3)
            wave *= 2 * np.pi / self.length / np.linalg.norm(wave)
            phase = rng.uniform(0, 2 * np.pi)
            moved[..., axis] += self.bend / np.sqrt(3) * np.sin(points @ wave + phase)
        return moved

    def to_current(self, points: Float) -> Float:
        """The inverse, by fixed-point steps to a thousandth of a mm."""
        found = np.array(points, np.float64)
        for _ in range(100):
            wrong = points - self.to_prior(found)
            if np.abs(wrong).max() < 1e-3:
                return found
            found = found + wrong
        raise ParameterError(f"Motion.bend of {self.bend:g} mm folds; make it smaller or longer")


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Images and lesions of both examinations; true volumes in mm3 and the true motion.

    ``before[i]`` and ``after[i]`` are the shapes of the i-th lesion of the prior examination (None:
    it has gone); ``born`` those that are new.
    """

    prior: Image
    prior_lesions: Mask
    current: Image
    current_lesions: Mask
    before: tuple[Ellipsoid, ...]
    after: tuple[Ellipsoid | None, ...]
    born: tuple[Ellipsoid, ...]
    motion: Motion


def thorax_follow_up(
    grid: Grid | None = None,
    *,
    growth: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    new: int = 0,
    radius: float = 9.0,
    motion: Motion | None = None,
    noise_hu: float = 14.0,
    seed: int = 1,
) -> FollowUp:
    """Prior and current CT of a thorax with lesions, and where they are.

    Parameters
    ----------
    grid
        Of both images; default 100 x 160 x 176 voxels of 2.5 x 1.75 x 1.75 mm.
    growth
        Of each lesion, of its volume: 0.3 is 30 % more, -1 that it has gone.
    new
        How many lesions are new.
    radius
        Of the lesions in mm at first, about: they differ by up to a fifth.
    motion
        Between the two; default a turn, a shift and a bend of 5 mm.
    noise_hu, seed
        Of both images (with different noise).

    Raises
    ------
    ParameterError
        More lesions than there are places, or a volume below nought.
    """
    if len(growth) > len(SITES) or new > len(BIRTHPLACES) or min(growth, default=0) < -1:
        raise ParameterError(
            f"growth of {len(growth)} lesions and {new} new ones; there is room for {len(SITES)} "
            f"and {len(BIRTHPLACES)}, and no volume falls by more than -1"
        )
    if grid is None:
        grid = thorax_grid((100, 160, 176), (2.5, 1.75, 1.75))
    motion = Motion() if motion is None else motion
    grids = [replace(grid, frame_of_reference=uid("frame", "followed", d)) for d in DAYS]
    before = tuple(_lesion(site, radius, i) for i, site in enumerate(SITES[: len(growth)]))
    after = tuple(
        _grown(shape, g, motion) if g > -1 else None
        for shape, g in zip(before, growth, strict=True)
    )
    born = tuple(
        _grown(_lesion(site, 0.7 * radius, i), 0.0, motion)
        for i, site in enumerate(BIRTHPLACES[:new])
    )
    body = [s for s in thorax_shapes() if s.label not in (NODULE, LIVER_LESION)]
    now = [s for s in after if s is not None]
    one = draw(body, grids[0], background=-1000)
    two = _deformed(body, grids[1], motion)
    return FollowUp(
        prior=_image(one, grids[0], before, noise_hu, seed, 0),
        prior_lesions=_mask(grids[0], before, 0),
        current=_image(two, grids[1], (*now, *born), noise_hu, seed + 100, 1),
        current_lesions=_mask(grids[1], (*now, *born), 1),
        before=before, after=after, born=born, motion=motion,
    )  # fmt: skip


def _lesion(site: tuple[float, float, float], radius: float, number: int) -> Ellipsoid:
    scale = radius * (1.0 + 0.1 * ((number * 2) % 5 - 2))
    return Ellipsoid(40.0, site, (1.15 * scale, scale, scale), (25.0 * number, 0))


def _grown(shape: Ellipsoid, growth: float, motion: Motion) -> Ellipsoid:
    factor = (1.0 + growth) ** (1 / 3)
    centre = motion.to_current(np.asarray(shape.centre, np.float64))
    a, b, c = (r * factor for r in shape.radii)
    x, y, z = (float(v) for v in centre)
    return replace(shape, centre=(x, y, z), radii=(a, b, c))


def _deformed(body: Sequence[Ellipsoid], grid: Grid, motion: Motion) -> Array:
    """The body as it lies in the current examination, sampled from a finer drawing of it."""
    from scipy.ndimage import map_coordinates

    margin = 12
    fine = grid.moved(
        start=(-margin,) * 3, shape=[2 * (n + 2 * margin) for n in grid.shape], step=(1, 1, 1)
    )
    affine = fine.affine.copy()
    affine[:3, :3] /= 2
    fine = Grid(fine.shape, affine)
    drawn = draw(body, fine, background=-1000)
    out = np.empty(grid.shape, np.float32)
    plane = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape[1:]], indexing="ij"), -1)
    for z in range(grid.shape[0]):
        index = np.concatenate([np.full((*plane.shape[:2], 1), z), plane], axis=-1)
        at = fine.to_index(motion.to_prior(grid.to_world(index)))
        out[z] = map_coordinates(drawn, np.moveaxis(at, -1, 0), order=1, mode="nearest")
    return out


def _image(
    body: Array, grid: Grid, lesions: Sequence[Ellipsoid], noise_hu: float, seed: int, turn: int
) -> Image:
    numbers = draw(lesions, grid, values=range(1, len(lesions) + 1)) if lesions else 0 * body
    data = np.array(body)
    for i, shape in enumerate(lesions):
        data[numbers == i + 1] = shape.value
    if noise_hu > 0:
        data = gaussian(blurred(data, fwhm=(0.9, 1.1, 1.1)), noise_hu, seed=seed)
    return Image(
        data=np.clip(np.rint(data), -1024, 3071).astype(np.int16),
        grid=grid,
        modality="CT",
        unit="[hnsf'U]",
        provenance=source(f"thorax_follow_up {DAYS[turn]}"),
        attributes={
            **_facts(turn, "CT thorax", 1),
            "BodyPartExamined": "CHEST",
            "PatientPosition": "HFS",
            "KVP": 120.0,
            "SliceThickness": grid.spacing[0],
            "FrameOfReferenceUID": grid.frame_of_reference,
        },
    )


def _facts(turn: int, description: str, number: int) -> dict[str, object]:
    day = DAYS[turn]
    own = facts(f"followed {day}", "Phantom^Followed", description, number=number)
    dates = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
    return {**own, "PatientID": "PHANTOM-FOLLOWED", **dict.fromkeys(dates, day)}


def _mask(grid: Grid, lesions: Sequence[Ellipsoid], turn: int) -> Mask:
    data = (
        draw(lesions, grid, values=range(1, len(lesions) + 1), dtype=np.uint8)
        if lesions
        else np.zeros(grid.shape, np.uint8)
    )
    return Mask(
        data=data,
        grid=grid,
        segments=tuple(
            Segment(i + 1, f"Lesion {i + 1}", LESION, "manual") for i in range(len(lesions))
        ),
        provenance=source(f"thorax_follow_up {DAYS[turn]} lesions"),
        attributes=_facts(turn, "Lesions", 9),
    )
