"""`register`: two images in, one `Warp` with its verdict out."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated, Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from somascope.analyze.register import field_kernels, presets
from somascope.analyze.register.affine import Linear, linear
from somascope.analyze.register.bodies import apart
from somascope.analyze.register.dense import dense
from somascope.analyze.register.evidence import edge_of, informed, judge
from somascope.analyze.register.field import exponential
from somascope.analyze.register.landmarks import fit, pairs
from somascope.analyze.register.levels import at, displacement_world, levels, mended, scaled
from somascope.analyze.register.marks import Marks
from somascope.analyze.register.presets import PRESETS, Name, Preset
from somascope.analyze.register.verdict import Registered, Verdict
from somascope.core import QUIET, Grid, Image, Mask, Param, Progress, Warp, operation
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.core.grid import Array, Float

FEWEST = 8
"""Voxels along an axis (other than the one of a slice) that a registration needs."""

LEAST_KNOWN = 0.05
"""Share of an image's voxels that must have a value (not NaN, not infinite)."""

FEW = 50_000
"""Voxels of a volume under which descriptors follow its noise as much as its structure."""
GAIN = 1.06
"""Times the information that they must bring there: in heads of 22 to 28 voxels a side, gains up to
1.05 came with points that lay 0.5 mm further off."""

STILL = 0.02
"""mm by which the way there and back may miss."""


def register(
    fixed: Image,
    moving: Image,
    preset: str | None = None,
    *,
    mask: Mask | None = None,
    landmarks: tuple[ArrayLike, ArrayLike] | None = None,
    start: Warp | None = None,
    accept: bool = False,
    device: str | None = None,
    progress: Progress = QUIET,
) -> Registered:
    """The map from points of ``fixed`` to points of ``moving``, with its verdict.

    Parameters
    ----------
    fixed, moving
        Two volumes, or two slices; grids, spacings and frames of reference may differ.
    preset
        One of `presets.PRESETS`; by default chosen from what the images say about themselves.
    mask
        Voxels of the fixed image that count (any segment), on its grid.
    landmarks
        The same points ``(n, 3)`` in the fixed and the moving frame (LPS mm), three or more:
        the search begins at their least-squares fit, and the verdict tells what is left.
    start
        An affine warp to begin at, instead of a search.
    accept
        Go on although the images name different parts of the body.
    device
        Where PyTorch does the work (``"cuda"``, ``"cuda:1"``); by default this processor does it,
        without PyTorch.

    Raises
    ------
    GeometryError
        The images cannot be registered: a slice with a volume, several volumes, too few voxels,
        nothing to see, a mask off the grid.
    ParameterError
        No such preset; a complex image; landmarks that do not pair; no such device.
    Refused
        Body Part Examined of the one is far from that of the other, and neither ``accept`` nor
        landmarks nor a start say that this is meant.
    """
    name = preset or presets.choose(fixed, moving)
    if name not in PRESETS:
        raise ParameterError(
            f"register: preset is {preset!r}; choose one of {', '.join(PRESETS)}, or none"
        )
    f, m = _volume(fixed, "fixed"), _volume(moving, "moving")
    if (1 in f.shape) != (1 in m.shape) and not (name == "slice" and 1 in f.shape):
        raise GeometryError(
            f"register: the fixed image is {'x'.join(map(str, f.shape))} and the moving one "
            f"{'x'.join(map(str, m.shape))}; two volumes or two slices are registered, or a fixed "
            "slice and a moving volume with the preset 'slice'"
        )
    if apart(fixed, moving) and not accept and start is None and landmarks is None:
        parts = " and ".join(str(i.attributes["BodyPartExamined"]) for i in (fixed, moving))
        raise Refused(
            f"register: by Body Part Examined the images show {parts}; one part of the body is "
            "registered. Where the attribute is wrong, go on with accept=True"
        )
    if device is not None:
        _demand_torch(device)
    weight = _weight(mask, fixed)
    begin = _begin(start, landmarks)
    chosen = PRESETS[name]
    notes = tuple(n for v, w in ((f, "fixed"), (m, "moving")) for n in _missing(v, w))
    f, m = mended(f), mended(m)
    one, two = (f, fixed.grid), (m, moving.grid)
    found = _linear(
        one, two, chosen, begin, weight, mutual=_mutual(chosen, fixed, moving), device=device,
        progress=Progress(lambda p, t: progress(0.35 * p, t)),
    )  # fmt: skip
    made = Registered(matrix=found.matrix, preset=name, **about(fixed, moving))
    small = _small(f, fixed), _small(m, moving)
    counted = None if weight is None else at(weight, fixed.grid, edge_of(fixed.grid))[0]
    if chosen.dense:
        # Contrasts that turn out to differ are compared by what they have in common.
        bending = PRESETS["multimodal"] if found.mutual else chosen
        how = presets.schedule(bending, fixed.grid)
        pyramid = levels(one, two, how.levels, blur=bending.blur, weight=weight)
        rest = Progress(lambda p, t: progress(0.35 + 0.5 * p, t))
        marks = _marks(landmarks, found.matrix)
        v, cell, grid = dense(
            pyramid, found.matrix, how, marks=marks, device=device, progress=rest
        )  # fmt: skip
        forward, backward, lattice = _fields(v, cell, grid, found.matrix)
        bent = replace(made, grid=lattice, displacement=forward, backward=backward)
        # A dense map has freedom to lose what the linear one had: the evidence decides.
        had, got = (informed(*small, w, mask=counted) for w in (made, bent))
        if got >= _needed(bending, fixed.grid) * had or marks is not None:
            made = bent
        else:
            worse = (
                f"the dense part was left out: mutual information {got:.3f} with it, {had:.3f} "
                "without"
            )
            notes = (*notes, worse)
    progress(0.9, "judging")
    verdict = replace(judge(*small, made, landmarks=landmarks, mask=counted), notes=notes)
    progress(1.0, "trusted" if verdict.trusted else "do not trust")
    return replace(made, verdict=verdict, confidence=verdict.confidence)


def _needed(bending: Preset, grid: Grid) -> float:
    """Times the information without it that a dense part has to reach."""
    few = 1 not in grid.shape and int(np.prod(grid.shape)) < FEW
    return GAIN if bending.patches and few else 0.98


def _demand_torch(device: str) -> None:
    if find_spec("torch") is None:
        raise ParameterError(
            f"register: device {device!r} is PyTorch's, which is not installed: "
            "pip install 'somascope[gpu]', or leave the device out"
        )
    from somascope.analyze.register.gpu import placed

    placed(np.zeros(1), device)


def _linear(
    one: tuple[Array, Grid], two: tuple[Array, Grid], chosen: Preset, begin: Float | None,
    weight: Array | None, *, mutual: bool | None, device: str | None, progress: Progress,
) -> Linear:  # fmt: skip
    shape, spacing = np.asarray(one[1].shape), np.asarray(one[1].spacing)
    edge = float(spacing[shape > 1].min())
    across = float((shape * spacing).max()) / edge
    # The dense part sees the finest voxels; a linear map is told well by half of them.
    fine = edge * (2.0 if chosen.dense and across > 64 else 1.0)
    fine = max(fine, float((shape * spacing).max()) / 160)
    return linear(
        one, two, kind=chosen.kind, mutual=mutual, reach=chosen.reach, start=begin,
        weight=weight, fine=fine, device=device, progress=progress,
    )  # fmt: skip


def _mutual(chosen: Preset, fixed: Image, moving: Image) -> bool | None:
    """Whether the contrasts differ, where preset or images say so; else the values tell."""
    if chosen.mutual is not None:
        return chosen.mutual
    return True if presets.contrast(fixed) != presets.contrast(moving) else None


def _small(volume: Array, image: Image) -> Image:
    """The scaled volume at the resolution at which evidence is taken, once for all of it."""
    return Image(*at(volume, image.grid, edge_of(image.grid)), modality=image.modality)


def judged(
    fixed: Image, moving: Image, warp: Registered, *,
    landmarks: tuple[ArrayLike, ArrayLike] | None = None,
) -> Registered:  # fmt: skip
    """A map from elsewhere (landmarks, a hand) with the verdict that its images give it."""
    f, m = mended(_volume(fixed, "fixed")), mended(_volume(moving, "moving"))
    verdict: Verdict = judge(_small(f, fixed), _small(m, moving), warp, landmarks=landmarks)
    return replace(warp, verdict=verdict, confidence=verdict.confidence)


def about(fixed: Image, moving: Image) -> dict[str, Any]:
    """What a map between two images says of itself: frames, patient, where it was seen."""
    return {
        "fixed_frame": fixed.grid.frame_of_reference,
        "moving_frame": moving.grid.frame_of_reference,
        "provenance": fixed.provenance,
        "attributes": dict(fixed.attributes),
        "on": tuple(u for s in fixed.provenance.sources for u in s.uids),
    }


def _marks(landmarks: tuple[ArrayLike, ArrayLike] | None, matrix: Float) -> Marks | None:
    """What of the landmarks is left to the dense part after the matrix."""
    if landmarks is None:
        return None
    at_, to = pairs(*landmarks)
    back = np.linalg.inv(matrix)
    return Marks(at_, to @ back[:3, :3].T + back[:3, 3])


def _fields(v: Array, cell: Array, grid: Grid, matrix: Float) -> tuple[Array, Array, Grid]:
    """Displacements in L, P, S mm: after the matrix, and of the inverse before; and where."""
    distance = np.asarray(grid.spacing) * cell
    forward, backward = (exponential(v, distance, factor=f) for f in (1.0, -1.0))
    # Sampled on a lattice, exp(-v) is the inverse of exp(v) nearly; a few steps make it so.
    per_mm = (1.0 / distance).astype(np.float32)
    wrong = np.empty_like(backward)
    for _ in range(6):
        field_kernels.compose(forward, backward, per_mm, wrong)
        backward -= wrong
        if float(np.abs(wrong).max()) < STILL:
            break
    turned = np.tensordot(
        np.asarray(matrix[:3, :3], np.float32), displacement_world(forward, grid), axes=1
    )
    shift = np.eye(4)
    shift[:3, :3] = np.diag(cell)
    shift[:3, 3] = (cell - 1) / 2
    lattice = Grid(forward.shape[:3], grid.affine @ shift, grid.frame_of_reference)
    return np.ascontiguousarray(turned), displacement_world(backward, grid), lattice


def _volume(image: Image, what: str) -> Array:
    data = image.data
    if any(n > 1 for n in data.shape[:-3]):
        raise GeometryError(
            f"register: the {what} image has the axes {' '.join(image.axis_names)}; choose one "
            f"volume with image.at({image.axis_names[0]}=0), or make a colour image grey"
        )
    if data.dtype.kind == "c":
        raise ParameterError(f"register: the {what} image is complex; take its magnitude")
    shape = image.grid.shape
    if sum(n == 1 for n in shape) > 1 or any(1 < n < FEWEST for n in shape):
        raise GeometryError(
            f"register: the {what} image is {'x'.join(map(str, shape))} voxels; at least "
            f"{FEWEST} are needed along each axis, or one slice"
        )
    volume = scaled(data.reshape(shape), missing=np.nan)
    known = int(np.isfinite(volume).sum())
    if known < LEAST_KNOWN * volume.size:
        raise GeometryError(
            f"register: {known:,} of {volume.size:,} voxels of the {what} image are finite "
            f"({known / volume.size:.1%}); at least {LEAST_KNOWN:.0%} are needed: fill what is "
            "background with a value, or cut the image to the part that is known"
        )
    if not float(np.nanstd(volume)) > 1e-6:
        raise GeometryError(f"register: the {what} image has one value everywhere; nothing to see")
    return volume


def _missing(volume: Array, what: str) -> list[str]:
    """What to say of the voxels without a value."""
    count = volume.size - int(np.isfinite(volume).sum())
    if not count:
        return []
    share = f"{count:,} voxels ({count / volume.size:.1%}) of the {what} image"
    return [f"{share} are not finite and were left out"]


def _weight(mask: Mask | None, fixed: Image) -> Array | None:
    if mask is None:
        return None
    if not mask.grid.allclose(fixed.grid, tolerance_mm=0.01):
        raise GeometryError(
            f"register: the mask lies on {mask.grid!r} and the fixed image on {fixed.grid!r}; "
            "bring it there first (process.resample_to, or warp.apply with label=True)"
        )
    chosen = mask.data > 0
    chosen = chosen.any(axis=0) if chosen.ndim == 4 else chosen
    if not chosen.any():
        raise GeometryError("register: the mask is empty; leave it out, or draw something")
    return np.ascontiguousarray(chosen, np.float32)


def _begin(start: Warp | None, landmarks: tuple[ArrayLike, ArrayLike] | None) -> Float | None:
    if start is not None:
        return np.asarray(start.matrix, np.float64)
    return None if landmarks is None else fit(*landmarks, kind="rigid").matrix


@operation("analyze.register")
def register_(
    fixed: Image,
    moving: Image,
    *,
    preset: Annotated[
        Name | None,
        Param("What may move, and what the images are; chosen by their content when not given"),
    ] = None,
    accept: Annotated[
        bool, Param("Go on when the images name different parts of the body")
    ] = False,
    progress: Progress = QUIET,
) -> Warp:
    """Register the second image to the first; the map is kept with its quality verdict.

    Two volumes ``(nz, ny, nx)``, or two slices, of any grids and contrasts: a linear map from many
    starts, then (not with ``rigid``, ``similarity`` and ``affine``) a smooth one that can be
    turned round.
    """
    return register(fixed, moving, preset, accept=accept, progress=progress)


assert set(get_args(Name)) == set(PRESETS), "each preset has its name in the form"
