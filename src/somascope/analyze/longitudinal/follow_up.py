"""The operation `analyze.follow_up`: two examinations and lesions in, all that has changed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.longitudinal import codes
from somascope.analyze.longitudinal.course import Followed, followed
from somascope.analyze.longitudinal.lesions import box_of
from somascope.analyze.longitudinal.reporting import candidate, findings, tracking_of
from somascope.analyze.measure.regions import tight
from somascope.analyze.register.presets import Name
from somascope.analyze.threshold import COLOURS
from somascope.core import (
    QUIET,
    Image,
    Label,
    Mask,
    Measurement,
    Param,
    Progress,
    Provenance,
    Segment,
    Tracking,
    Warp,
    operation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.labels import resample_mask_to


@operation("analyze.follow_up")
def follow_up(
    current: Image,
    prior: Image,
    lesions: Mask,
    *found: Mask,
    preset: Annotated[
        Name | None, Param("How prior and current are registered; by content when not given")
    ] = None,
    each: Annotated[
        Literal["segment", "component"],
        Param("What one lesion is: a segment of the masks, or every connected body in them"),
    ] = "segment",
    reach: Annotated[
        float,
        Param("Between centres of lesions that may be one though they do not overlap", unit="mm",
              minimum=0.1, maximum=100.0),
    ] = 10.0,
    outline: Annotated[
        float,
        Param("Standard uncertainty of where outlines lie", unit="mm", minimum=0.0, maximum=10.0),
    ] = 0.2,
    polarity: Annotated[
        Literal["brighter", "darker", "both"], Param("Of new lesions against what was there")
    ] = "both",
    threshold: Annotated[
        float,
        Param("Standard deviations of noise that something new differs by", minimum=1.0),
    ] = 6.0,
    minimum: Annotated[
        float, Param("Smallest volume of something new: a ball of 6 mm", unit="mm3", minimum=0.0)
    ] = 113.0,
    tolerance: Annotated[
        float,
        Param("Misfit of the registration that is forgiven when looking for what is new", unit="mm",
              minimum=0.0, maximum=30.0, advanced=True),
    ] = 4.0,
    baseline_sum: Annotated[
        float | None,
        Param("Sum of diameters before treatment; default that of the prior examination", unit="mm",
              minimum=0.0),
    ] = None,
    nadir_sum: Annotated[
        float | None, Param("Smallest sum of diameters since", unit="mm", minimum=0.0)
    ] = None,
    accept: Annotated[
        bool,
        Param("Go on when the registration is not to be trusted or the patients' numbers differ"),
    ] = False,
    progress: Progress = QUIET,
) -> list[Mask | Image | Warp | Label | Measurement]:  # fmt: skip
    """Find the lesions of a prior examination again and say how each has changed.

    The prior image is registered to the current one, the lesions are carried over and matched with
    those of the current mask, or outlined by their contrast where there is none. Images without an
    absolute scale (MR, counts) need that mask, and there is no map of what is new. Results: the
    lesions of now under their tracking UIDs, a map of what is new (z), the registration, and a
    report: the course of each lesion, volumes and diameters with uncertainties, RECIST 1.1 and for
    PET in SUV also PERCIST.
    """
    if len(found) > 1:
        raise ParameterError(
            f"analyze.follow_up was given {len(found)} masks of the current examination; give one"
        )
    result = followed(
        current, prior, lesions, found[0] if found else None, preset=preset, each=each,
        reach=reach, outline=outline, tolerance=tolerance, threshold=threshold, minimum=minimum,
        polarity=polarity, accept=accept, progress=progress,
    )  # fmt: skip
    listed = findings(result, drawn=bool(found), baseline=baseline_sum, nadir=nadir_sum)
    progress(1.0, "reported")
    mask = segments(result)
    record = listed[0].provenance
    z = None if result.z is None else replace(result.z, provenance=record)
    warp = replace(result.warp, provenance=record)
    return [*(one for one in (mask, z) if one is not None), warp, *listed]


def segments(result: Followed) -> Mask | None:
    """The lesions of the current examination under the identities of the prior one.

    What may be new and nobody has drawn follows them; None where there is nothing.
    """
    matched = result.matched
    grid = result.current.grid
    who = {j: result.before[i] for i, j, _ in matched.pairs}
    bodies: list[tuple[tuple[slice, ...], Array]] = []
    named: list[Segment] = []
    for j, lesion in enumerate(result.after):
        bodies.append((box_of(lesion.region), lesion.region.inside))
        known = who.get(j, lesion)
        named.append(
            Segment(
                len(named) + 1, known.name, known.segment.concept, lesion.segment.algorithm,
                COLOURS[len(named) % len(COLOURS)], tracking=known.tracking,
            )
        )  # fmt: skip
    for k, one in enumerate(result.candidates):
        assert result.z is not None
        mask = Mask(
            data=one.inside.astype(np.uint8), grid=result.z.grid, segments=(Segment(1, "new"),)
        )
        inside = resample_mask_to(mask, grid).data > 0
        box = tight(inside)
        if box is not None:
            bodies.append((box, inside[box]))
            named.append(
                Segment(
                    len(named) + 1, candidate(k), codes.CANDIDATE, "analyze.follow_up",
                    (255, 60, 60), 0.5, Tracking(tracking_of(result, k), candidate(k)),
                )
            )  # fmt: skip
    if not bodies:
        return None
    data = _together(bodies, grid.shape)
    current, prior = result.current.provenance, result.prior.provenance
    extra = tuple(s for s in prior.sources if s not in current.sources)
    return Mask(
        data=data,
        grid=grid,
        segments=tuple(named),
        on=tuple(u for s in current.sources for u in s.uids),
        provenance=Provenance((*current.sources, *extra), current.steps),
        attributes=dict(result.current.attributes),
    )


def _together(bodies: Sequence[tuple[tuple[slice, ...], Array]], shape: tuple[int, ...]) -> Array:
    """Boxes and what is inside as the data of a mask: numbers, or planes where bodies overlap."""
    numbers = np.zeros(shape, np.uint8 if len(bodies) < 256 else np.uint16)
    for n, (box, inside) in enumerate(bodies):
        here = numbers[box]
        if here[inside].any():
            break
        here[inside] = n + 1
    else:
        return numbers
    planes = np.zeros((len(bodies), *shape), bool)
    for plane, (box, inside) in zip(planes, bodies, strict=True):
        plane[box] = inside
    return planes
