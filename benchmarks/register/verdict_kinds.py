"""The kinds of `verdict_cases.Case`: 100 failures planted in many ways, and as many good ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.register import verdict_cases as make
from benchmarks.register.verdict_cases import Case
from somascope.analyze.register import register
from somascope.core import Image, Warp
from somascope.core.errors import GeometryError

Rng = np.random.Generator
Kind = Callable[[Rng, int], Iterator[Case]]


def source(number: int) -> Image:
    """Bodies in turn: two kinds of phantoms, and what real volumes there are."""
    real = [
        lambda: make.real("antspy_data/mni.nii.gz", 5.5),
        lambda: make.real(
            f"{MS}/T1_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz", 5.5
        ),
        lambda: make.real("antspy_data/oasis_mni.nii.gz", 5.5),
    ]
    kind = number % 4
    if kind == 0:
        return make.blobs(number)
    if kind == 1:
        return make.head(("T1", "T2", "PD", "FLAIR")[number // 4 % 4])
    if kind == 2:
        return make.chest() if number % 8 == 2 else make.blobs(number, (40, 30, 36))
    try:
        return real[number // 4 % 3]()
    except FileNotFoundError:
        return make.blobs(number)


MS = "open_ms/cross_sectional/MNI/patient07"


def slice_of(number: int) -> Image:
    """Slices in turn: real ones where the data is there."""
    names = [*(f"antspy_data/r{n}slice.jpg" for n in (16, 27, 64, 85)),
             "itkelastix_reg/examples/data/CT_2D_head_fixed.mha"]  # fmt: skip
    try:
        image = make.real(names[number % len(names)], 1.0)
    except (FileNotFoundError, OSError):
        return make.blobs(number, (1, 110, 96), 2.0)
    return image if 1 in image.grid.shape else make.blobs(number, (1, 110, 96), 2.0)


def contrasts(number: int) -> tuple[Image, Image]:
    """One body in two contrasts on one grid."""
    if number % 2:
        try:
            names = ("T1_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI",
                     "FLAIR_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI")  # fmt: skip
            one, two = (make.real(f"{MS}/{n}.nii.gz", 5.5) for n in names)
            return one, two
        except FileNotFoundError:
            pass
    return make.head("T1"), make.head(("T2", "FLAIR")[number // 2 % 2])


# -- good ones ------------------------------------------------------------------------------------


def good_rigid(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, noise=float(rng.choice([0.01, 0.04, 0.08])))
    yield from make.judged("good rigid", pair, make.run(pair, "rigid"))


def good_affine(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, degrees=8, mm=10)
    yield from make.judged("good affine", pair, make.run(pair, "affine"))


def good_dense(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, degrees=8, mm=8, most=float(rng.uniform(4, 12)))
    yield from make.judged("good dense", pair, make.run(pair, "deformable"))


def good_noisy(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, noise=float(rng.uniform(0.1, 0.2)))
    yield from make.judged("good noisy", pair, make.run(pair, "rigid"))


def good_contrasts(rng: Rng, n: int) -> Iterator[Case]:
    one, two = contrasts(n)
    pair = make.pair(one, rng, degrees=10, mm=10, most=4.0 * (n % 3), other=two)
    preset = "multimodal" if n % 3 else "rigid"
    fixed, moving = (replace(i, attributes={"SeriesDescription": w})
                     for i, w in ((pair.fixed, "T1"), (pair.moving, "T2")))  # fmt: skip
    pair = replace(pair, fixed=fixed, moving=moving)
    yield from make.judged("good contrasts", pair, make.run(pair, preset))


def good_truth(rng: Rng, n: int) -> Iterator[Case]:
    """The exact map of a bent body, as if a perfect engine had found it."""
    pair = make.pair(source(n), rng, most=float(rng.uniform(0, 12)), noise=0.03)
    yield from make.judged("good exact", pair, make.truth(pair))


def good_slices(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(slice_of(n), rng, degrees=20, mm=10, most=5.0 * (n % 2))
    yield from make.judged("good slices", pair, make.run(pair, "deformable" if n % 2 else "rigid"))


def good_part(rng: Rng, n: int) -> Iterator[Case]:
    """The moving scan begins later: a quarter to a third of the body is not in it."""
    pair = make.pair(source(n), rng, degrees=8, mm=6)
    cut = round(pair.moving.grid.shape[0] * float(rng.uniform(0.2, 0.33)))
    stop = pair.moving.grid.shape
    part = replace(pair, moving=pair.moving.crop(start=(cut, 0, 0), stop=stop))
    yield from make.judged("good part", part, make.run(part, "rigid"))


def good_changed(rng: Rng, n: int) -> Iterator[Case]:
    """A follow-up: a bright lesion of 15 mm that was not there, and a brightness that drifts."""
    base = source(n)

    def seen(values: make.Array) -> make.Array:
        spread = float(np.ptp(np.percentile(values, (1, 99))))
        inside = np.argwhere(values > np.percentile(values, 60))
        at = inside[rng.integers(len(inside))]
        index = np.moveaxis(np.indices(values.shape), 0, -1) - at
        away = (index * np.asarray(base.grid.spacing)) ** 2
        drift = 1 + 0.15 * make.texture(base.grid, rng, 50.0)
        return (values * drift + spread * (away.sum(-1) < 15**2)).astype(np.float32)

    pair = make.pair(base, rng, degrees=8, mm=8, seen=seen)
    yield from make.judged("good follow-up", pair, make.run(pair, "followup"))


# -- failures -------------------------------------------------------------------------------------


def beyond_capture(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, degrees=0, mm=5)
    turn = Warp(matrix=make.turned(pair.fixed.grid, _wide(rng), np.zeros(3)))
    back = Warp(matrix=turn.matrix @ pair.back.matrix)
    far = replace(pair, moving=make.apply(source(n), back, pair.moving.grid), back=back)
    yield from make.judged("beyond capture", far, make.run(far, "rigid"))


def _wide(rng: Rng) -> make.Float:
    axis = rng.standard_normal(3)
    return axis / np.linalg.norm(axis) * float(rng.uniform(80, 150))


def other_body(rng: Rng, n: int) -> Iterator[Case]:
    lump = make.blobs(int(rng.integers(1000)))
    head, chest = make.head(("T1", "T2")[n // 2 % 2]), make.chest()
    one, two = ((head, chest), (chest, lump), (lump, head), (head, lump))[n % 4]
    preset = ("rigid", "affine", "deformable", "multimodal")[n % 4]
    yield Case("other body", True, one, two, register(one, two, preset))


def mirrored(rng: Rng, n: int) -> Iterator[Case]:
    base = make.blobs(n) if n % 2 else source(n)
    pair = make.pair(base, rng, degrees=6, mm=6)
    flipped = pair.moving.with_data(np.ascontiguousarray(np.asarray(pair.moving.data)[..., ::-1]))
    yield Case("mirrored", True, pair.fixed, flipped,
               register(pair.fixed, flipped, "rigid" if n % 3 else "affine"))  # fmt: skip


def other_patient(rng: Rng, n: int) -> Iterator[Case]:
    """Another body of the same kind, where a rigid map was asked for: bent, lumpy elsewhere."""
    base = source(n)
    edge = float(max(base.grid.spacing))

    def lumpy(values: make.Array) -> make.Array:
        spread = float(np.ptp(np.percentile(values, (1, 99))))
        own = 0.15 * spread * make.texture(base.grid, rng, 2 * edge) * (values > 0.2 * spread)
        return (values + own).astype(np.float32)

    pair = make.pair(base, rng, degrees=5, mm=5, most=14 * edge, width=6 * edge, seen=lumpy)
    yield from make.judged("other patient", pair, make.run(pair, "rigid"))


def folded(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, most=4.0)
    good = make.truth(pair)
    field = np.asarray(good.displacement) + make.bend(pair.fixed.grid, rng, 25.0, 8.0)
    yield Case("folded", True, pair.fixed, pair.moving,
               replace(good, displacement=field.astype(np.float32), backward=None))  # fmt: skip


def local_optimum(rng: Rng, n: int) -> Iterator[Case]:
    """A wrong start from which the engine goes on, sometimes to a dense map."""
    pair = make.pair(source(n), rng, degrees=5, mm=5)
    wrong = make.turned(pair.fixed.grid, _wide(rng) * 0.4, rng.uniform(-25, 25, 3))
    start = Warp(matrix=make.moved(pair, wrong).matrix)
    preset = ("rigid", "affine", "deformable", "followup")[n % 4]
    yield from make.judged("local optimum", pair, make.run(pair, preset, start))


def stopped_early(rng: Rng, n: int) -> Iterator[Case]:
    """Near the right place, and not there: 8 to 16 degrees and 8 to 16 mm."""
    one, two = contrasts(n) if n % 3 == 2 else (source(n), None)
    pair = make.pair(one, rng, most=3.0 * (n % 2), other=two)
    axis = rng.standard_normal(3)
    angles = axis / np.linalg.norm(axis) * float(rng.uniform(8, 16))
    shift = rng.standard_normal(3)
    shift *= float(rng.uniform(3.2, 5)) * pair.edge / np.linalg.norm(shift)
    wrong = make.turned(pair.fixed.grid, angles, shift)
    yield from make.judged("stopped early", pair, make.moved(pair, wrong))


def shuffled(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, degrees=5, mm=5)
    data = np.asarray(pair.moving.data)
    mixed = pair.moving.with_data(np.ascontiguousarray(data[rng.permutation(len(data))]))
    preset = ("rigid", "affine", "deformable")[n % 3]
    yield Case("shuffled slices", True, pair.fixed, mixed, register(pair.fixed, mixed, preset))


def half_missing(rng: Rng, n: int) -> Iterator[Case]:
    """Half of the field of view is not there, and the map is pulled to what is."""
    pair = make.pair(source(n), rng, degrees=6, mm=6)
    depth = pair.moving.grid.shape[0]
    cut = replace(pair, moving=pair.moving.crop(
        start=(depth // 2, 0, 0), stop=pair.moving.grid.shape))  # fmt: skip
    pull = float(depth * pair.moving.grid.spacing[0] * rng.uniform(0.15, 0.3))
    step = np.array([0.0, 0.0, pull if n % 2 else -pull])
    wrong = make.turned(cut.fixed.grid, np.zeros(3), step)
    yield from make.judged("half missing", cut, make.moved(cut, wrong))


def wrong_contrast(rng: Rng, n: int) -> Iterator[Case]:
    """Bright for dark, told to be alike: what the dense part makes of a wrong linear one."""
    pair = make.pair(source(n), rng, degrees=20, mm=15, seen=make.inverted)
    wrong = make.turned(pair.fixed.grid, _wide(rng) * 0.25, rng.uniform(-20, 20, 3))
    start = Warp(matrix=make.moved(pair, wrong).matrix)
    yield from make.judged("wrong contrast", pair, make.run(pair, "deformable", start))


def wrong_field(rng: Rng, n: int) -> Iterator[Case]:
    """The right linear map and a smooth field that belongs to nothing."""
    pair = make.pair(source(n), rng, most=4.0)
    good = make.truth(pair)
    most = 9.0 * pair.edge
    wide = 9.0 * pair.edge
    for _ in range(6):
        field = np.asarray(good.displacement) + make.bend(pair.fixed.grid, rng, most, wide)
        bad = replace(good, displacement=field.astype(np.float32), backward=None)
        if pair.error(bad) > 3 * pair.edge:
            break
        most *= 1.3
        wide *= 1.3
    yield from make.judged("wrong field", pair, bad)


def shrunk(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng, degrees=4, mm=4)
    factor = float(rng.choice([0.45, 0.6, 1.6, 2.2]))
    scale = np.eye(4)
    middle = pair.fixed.grid.to_world((np.asarray(pair.fixed.grid.shape) - 1) / 2)
    scale[:3, :3] *= factor
    scale[:3, 3] = middle * (1 - factor)
    yield from make.judged("shrunk", pair, make.moved(pair, scale))


def apart(rng: Rng, n: int) -> Iterator[Case]:
    pair = make.pair(source(n), rng)
    size = np.asarray(pair.fixed.grid.shape) * pair.fixed.grid.spacing
    step = np.zeros(3)
    step[n % 3] = float(rng.uniform(0.5, 1.2)) * float(size[2 - n % 3])
    wrong = make.turned(pair.fixed.grid, np.zeros(3), step)
    yield from make.judged("apart", pair, make.moved(pair, wrong))


def nothing(rng: Rng, n: int) -> Iterator[Case]:
    """Noise, white or smooth, for a moving image."""
    one = source(n)
    values = rng.standard_normal(one.grid.shape)
    if n % 2:
        values = gaussian_filter(values, [3 if s > 1 else 0 for s in one.grid.shape])
    noise = one.with_data(values.astype(np.float32))
    preset = ("rigid", "deformable", "multimodal")[n % 3]
    yield Case("noise", True, one, noise, register(one, noise, preset))


def wrong_slices(rng: Rng, n: int) -> Iterator[Case]:
    """Slices: of one another mirrored, or turned beyond capture."""
    pair = make.pair(slice_of(n), rng, degrees=5, mm=4)
    if n % 2:
        wrong = make.turned(pair.fixed.grid, np.array([0, 0, 120.0]), np.zeros(3))
        yield from make.judged("wrong slices", pair, make.moved(pair, wrong))
        return
    step = rng.uniform(10, 20, 3)
    wrong = make.turned(pair.fixed.grid, np.array([0, 0, 12.0]), step)
    yield from make.judged("wrong slices", pair, make.moved(pair, wrong))


GOOD: dict[Kind, int] = {
    good_rigid: 10, good_affine: 6, good_dense: 8, good_noisy: 8, good_contrasts: 8,
    good_truth: 36, good_slices: 12, good_part: 8, good_changed: 6,
}  # fmt: skip
FAILED: dict[Kind, int] = {
    beyond_capture: 4, other_body: 10, mirrored: 8, other_patient: 8, folded: 12,
    local_optimum: 6, stopped_early: 20, shuffled: 8, half_missing: 12, wrong_contrast: 8,
    wrong_field: 12, shrunk: 8, apart: 8, nothing: 6, wrong_slices: 12,
}  # fmt: skip
MADE = (
    good_truth, folded, stopped_early, half_missing, wrong_field, shrunk, apart, wrong_slices,
)  # fmt: skip
"""Kinds whose maps are made from the truth: nothing is registered for them."""


def cases(*, seed: int, share: int = 1, made: bool = False) -> Iterator[Case]:
    """All of them; every ``share``-th of each kind, of those `MADE` without the engine only."""
    for number, (kind, count) in enumerate([*GOOD.items(), *FAILED.items()]):
        if made and kind not in MADE:
            continue
        for n in range(0, count, share):
            rng = np.random.default_rng([seed, number, n])
            try:
                yield from kind(rng, n)
            except GeometryError:
                continue  # refused outright: nothing to judge
