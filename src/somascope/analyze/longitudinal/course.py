"""A follow-up as it is computed: registration, matching, changes, what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.analyze.longitudinal.change import Change, change, days_between
from somascope.analyze.longitudinal.lesions import (
    Each,
    Lesion,
    box_of,
    cut_off,
    lesions,
    shared,
    size,
)
from somascope.analyze.longitudinal.matching import Match, match
from somascope.analyze.longitudinal.newness import Candidate, Polarity, away, candidates, newness
from somascope.analyze.longitudinal.outlining import Outlined, outlined
from somascope.analyze.longitudinal.targets import Sums, sums
from somascope.analyze.measure.regions import Region, regions
from somascope.analyze.register import Registered, apply, register
from somascope.analyze.register.evidence import home
from somascope.core import QUIET, Grid, Image, Mask, Progress, Segment
from somascope.core.errors import GeometryError, ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.process.labels import resample_mask_to
from somascope.process.resample import with_spacing

FINEST = 2.0
"""mm: the map of what is new is not made finer; lesions of less than that are noise."""


@dataclass(frozen=True, eq=False)
class Followed:
    """A follow-up: lesions of both examinations, which is which, and what changed.

    ``changes`` by index of the prior lesion; ``outlines`` where the current lesions were outlined
    here; ``z`` the new-lesion map (None where the images' unit has no absolute scale);
    ``candidates`` the places in it that no lesion explains.
    """

    current: Image
    prior: Image
    warp: Registered
    before: tuple[Lesion, ...]
    after: tuple[Lesion, ...]
    matched: Match
    changes: dict[int, Change]
    sums: Sums
    z: Image | None
    candidates: tuple[Candidate, ...]
    outlines: tuple[Outlined, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all lesions of now are known whole: none outside, cut off or not outlined."""
        return not self.matched.unseen and not any(lesion.open for lesion in self.after)

    @property
    def comparable(self) -> bool:
        """Whether those of before are too, so that sums over all of them can be compared."""
        return self.complete and not any(lesion.open for lesion in self.before)

    @property
    def days(self) -> int | None:
        """From the prior to the current examination."""
        dates = (str(i.attributes.get("StudyDate") or "") for i in (self.prior, self.current))
        return days_between(*dates)


def followed(
    current: Image,
    prior: Image,
    drawn: Mask,
    found: Mask | None = None,
    *,
    preset: str | None = None,
    warp: Registered | None = None,
    each: Each = "segment",
    reach: float = 10.0,
    outline: float = 0.2,
    tolerance: float = 4.0,
    threshold: float = 6.0,
    minimum: float = 113.0,
    polarity: Polarity = "both",
    accept: bool = False,
    progress: Progress = QUIET,
) -> Followed:
    """Compare two examinations of one patient.

    Parameters
    ----------
    current, prior
        Single volumes (or slices) of one modality and unit.
    drawn, found
        The lesions in the prior, and in the current examination where they have been drawn.
    preset, warp
        As for `register`; or the registration itself (prior to current), where there is one.
    each, outline, reach
        As for `lesions` and `match`.
    tolerance, threshold, minimum, polarity
        Of the map of what is new: see `newness` and `candidates`.
    accept
        Go on where the registration is not to be trusted, or the patients' numbers differ.

    Raises
    ------
    Refused
        The registration failed by its own verdict, or these are two patients.
    ParameterError
        The prior examination is the later one, modality or unit differ, no lesion is drawn, or
        none in the current examination whose unit has no absolute scale.
    """
    _same(current, prior, accept=accept)
    scaled = absolute(current.unit)
    if found is None and not scaled:
        raise ParameterError(
            f"analyze.follow_up: the images are in {current.unit!r}, which has no absolute scale: "
            "lesions cannot be outlined by what they were in the prior image. Draw the lesions in "
            "the current image and give that mask too"
        )
    before = lesions(_on(drawn, prior, "prior"), each=each, outline=outline)
    if not before and found is None:
        raise ParameterError("analyze.follow_up: no lesion is drawn in the prior examination")
    if warp is None:
        part = Progress(lambda f, m: progress(0.7 * f, m))
        warp = register(current, prior, preset, progress=part)
    if not warp.verdict.trusted and not accept:
        raise Refused(
            f"analyze.follow_up: the registration says {warp.verdict.words}. Give landmarks or "
            "another preset, or accept it: every finding will say so"
        )
    progress(0.72, "lesions carried over")
    carried, places = _carried(before, prior.grid, warp, current.grid)
    outlines: list[Outlined] = []
    if found is not None:
        after = lesions(_on(found, current, "current"), each=each, outline=outline)
    else:
        outlines = outlined(current, prior, before, carried)
        after = _drawn(outlines, before, carried, current, outline)
    progress(0.8, "lesions matched")
    matched = match(carried, places, after, reach=reach)
    days = days_between(*(str(i.attributes.get("StudyDate") or "") for i in (prior, current)))
    matched = _with_merged(matched, outlines, before, after)
    changes = {
        i: change(before[i].size, after[j].size, days=days)
        for i, j, _ in matched.pairs
        if not (before[i].open or after[j].open)
    }
    grown = {i for i, told in changes.items() if told.course == "grown"}
    progress(0.85, "what is new")
    z, fresh = None, []
    if scaled:
        z, one, two = _map(
            current, prior, warp, tolerance=tolerance, threshold=threshold, polarity=polarity
        )
        known = _known(z.grid, current.grid, carried, after)
        fresh = [
            c
            for c in candidates(
                np.where(known, 0, z.data), one, two, z.grid,
                threshold=threshold, minimum=minimum, tolerance=tolerance,
            )
            if not (c.inside & known).any()
        ]  # fmt: skip
    progress(0.97, "new lesions looked for")
    return Followed(
        current=current, prior=prior, warp=warp, before=tuple(before),
        after=tuple(_named(after, before, matched)),
        matched=matched, changes=changes, z=z,
        sums=sums(before, after, matched, grown=grown),
        candidates=tuple(fresh), outlines=tuple(outlines),
    )  # fmt: skip


def absolute(unit: str) -> bool:
    """Whether equal values of two images mean the same: not so in arbitrary units, as those of MR.

    Arbitrary units are plain numbers (``1``) and counts (``{counts}`` and the like).
    """
    return unit not in ("", "1") and not unit.startswith("{")


def _same(current: Image, prior: Image, *, accept: bool) -> None:
    for what, image in (("current", current), ("prior", prior)):
        if any(n > 1 for n in image.data.shape[:-3]):
            raise GeometryError(
                f"analyze.follow_up: the {what} image has the axes {' '.join(image.axis_names)}; "
                "choose one volume"
            )
    for word in ("modality", "unit"):
        one, two = getattr(current, word), getattr(prior, word)
        if one != two:
            raise ParameterError(
                f"analyze.follow_up: the {word} is {one!r} now and was {two!r}; changes are told "
                "between examinations of one kind"
            )
    who = [str(i.attributes.get("PatientID") or "") for i in (current, prior)]
    if all(who) and who[0] != who[1] and not accept:
        raise Refused(
            f"analyze.follow_up: PatientID is {who[0]!r} now and was {who[1]!r}; these are two "
            "patients, or one under two numbers: accept it if so"
        )
    dates = (str(i.attributes.get("StudyDate") or "") for i in (prior, current))
    days = days_between(*dates)
    if days is not None and days < 0:
        raise ParameterError(
            f"analyze.follow_up: the prior examination is {-days} days later than the current one; "
            "give the current image first, then the prior one"
        )


def _on(mask: Mask, image: Image, what: str) -> Mask:
    frames = mask.grid.frame_of_reference, image.grid.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        raise GeometryError(
            f"analyze.follow_up: the {what} lesions lie in frame of reference {frames[0]} and the "
            f"{what} image in {frames[1]}; give the mask that was drawn on it"
        )
    if mask.grid.allclose(image.grid):
        return mask
    moved = resample_mask_to(mask, image.grid, smooth=not mask.fractional)
    if mask.data.any() and not moved.data.any():
        raise GeometryError(
            f"analyze.follow_up: the {what} lesions lie outside the {what} image; give the mask "
            "that was drawn on it"
        )
    return moved


def _carried(
    before: Sequence[Lesion], grid: Grid, warp: Registered, target: Grid
) -> tuple[list[Region | None], Float]:
    """The prior lesions on the current grid, and their centres there."""
    if not before:
        return [], np.zeros((0, 3))
    places = home(warp, np.stack([b.centre for b in before]))
    data = np.zeros(grid.shape, np.uint16)
    overlapping: list[int] = []
    for i, lesion in enumerate(before):
        box = box_of(lesion.region)
        if (data[box][lesion.region.inside] > 0).any():
            overlapping.append(i)
        data[box][lesion.region.inside] = i + 1
    moved = apply(_labels(data, grid, len(before)), warp, target)
    carried: list[Region | None] = [None] * len(before)
    for region in regions(moved) if moved.data.any() else []:
        carried[region.segment.number - 1] = region
    for i, lesion in enumerate(before):
        if i in overlapping or any(shared(lesion.region, before[k].region) for k in overlapping):
            alone = np.zeros(grid.shape, np.uint8)
            alone[box_of(lesion.region)][lesion.region.inside] = 1
            moved = apply(_labels(alone, grid, 1), warp, target)
            carried[i] = regions(moved)[0] if moved.data.any() else None
    for i, lesion in enumerate(before):
        if carried[i] is None:
            carried[i] = _dot(places[i], lesion, target)
    return carried, places


def _dot(place: Float, lesion: Lesion, grid: Grid) -> Region | None:
    """One voxel where a lesion's centre is: smaller than a voxel there; None: outside."""
    index = np.rint(grid.to_index(place)).astype(int)
    if (index < 0).any() or (index >= grid.shape).any():
        return None
    start = (int(index[0]), int(index[1]), int(index[2]))
    box = grid.moved(start=start, shape=(1, 1, 1), step=(1, 1, 1))
    return Region(lesion.segment, np.ones((1, 1, 1), bool), box, start)


def _labels(data: Array, grid: Grid, count: int) -> Mask:
    return Mask(
        data=data, grid=grid, segments=tuple(Segment(i + 1, str(i + 1)) for i in range(count))
    )


def _drawn(
    outlines: Sequence[Outlined],
    before: Sequence[Lesion],
    carried: Sequence[Region | None],
    current: Image,
    outline: float,
) -> list[Lesion]:
    """What was outlined, as lesions; a faint one keeps the outline that was carried over."""
    found: list[Lesion] = []
    for lesion, made, place in zip(before, outlines, carried, strict=True):
        region = place if made.faint else made.region
        if region is not None:
            how = "carried over" if made.faint else "half contrast"
            who = replace(
                lesion.segment, number=len(found) + 1, tracking=lesion.tracking,
                algorithm=f"analyze.follow_up {how}",
            )  # fmt: skip
            region = replace(region, segment=who)
            cut = cut_off(region, current.grid)
            found.append(
                Lesion(region, lesion.tracking, size(region, outline=outline), cut, made.faint)
            )
    return found


def _with_merged(
    matched: Match, outlines: Sequence[Outlined], before: Sequence[Lesion], after: Sequence[Lesion]
) -> Match:
    """Lesions whose outline is that of another have merged with it, not gone."""
    merged = dict(matched.merged)
    where = {lesion.tracking.uid: j for j, lesion in enumerate(after)}
    for i, made in enumerate(outlines):
        if made.one_with is not None:
            j = where[before[made.one_with].tracking.uid]
            merged |= {k: j for k in (i, made.one_with) if k in matched.resolved}
    resolved = tuple(i for i in matched.resolved if i not in merged)
    return replace(matched, merged=merged, resolved=resolved)


def _named(after: Sequence[Lesion], before: Sequence[Lesion], matched: Match) -> list[Lesion]:
    """What is new is named anew where one of the names is that of a prior lesion."""
    taken = {b.name for b in before}
    named = list(after)
    again = any(after[j].name in taken for j in matched.new)
    for k, j in enumerate(matched.new if again else ()):
        who = replace(after[j].tracking, name=f"New lesion {k + 1}")
        named[j] = replace(after[j], tracking=who)
    return named


def _map(
    current: Image,
    prior: Image,
    warp: Registered,
    *,
    tolerance: float,
    threshold: float,
    polarity: Polarity,
) -> tuple[Image, Array, Array]:
    """The map of what is new, on the current grid or a coarser one of it; both images there.

    It is shown from twice ``threshold`` below zero to twice above: what is told as new lies in the
    outer halves of the colours, whatever the largest value is.
    """
    spacing = current.grid.spacing
    wide = [n > 1 for n in current.grid.shape]
    wanted = [max(s, FINEST) if w else s for s, w in zip(spacing, wide, strict=True)]
    grid = current.grid
    one = current
    if any(w > 1.2 * s for w, s in zip(wanted, spacing, strict=True)):
        from somascope.process.resample import resample_to

        grid = with_spacing(grid, (wanted[0], wanted[1], wanted[2]))
        one = resample_to(current, grid, order="linear")
    two = apply(prior, warp, grid, fill=np.nan)
    values, carried = (np.asarray(i.data.reshape(grid.shape), np.float32) for i in (one, two))
    z = newness(values, carried, grid, tolerance=tolerance, polarity=polarity)
    attributes = {k: v for k, v in current.attributes.items() if not k.startswith("Window")}
    attributes |= {
        "SeriesDescription": "New-lesion map (z)", "WindowCenter": 0.0,
        "WindowWidth": 4.0 * threshold,
    }  # fmt: skip
    made = Image(z, grid, current.modality, "1", (), current.provenance, attributes)
    return made, values, carried


def _known(
    grid: Grid, finest: Grid, carried: Sequence[Region | None], after: Sequence[Lesion]
) -> Array:
    """Voxels of the map within reach of a lesion that is known, of either examination."""
    places = np.zeros(finest.shape, bool)
    for region in (*carried, *(a.region for a in after)):
        if region is not None:
            places[box_of(region)] |= region.inside
    if not places.any():
        return np.zeros(grid.shape, bool)
    near = away(places, finest) <= 5.0
    if grid is finest:
        return near
    mask = Mask(data=near.astype(np.uint8), grid=finest, segments=(Segment(1, "known"),))
    return resample_mask_to(mask, grid).data > 0
