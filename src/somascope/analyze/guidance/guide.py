"""The operations `analyze.guide` and `analyze.guide_views`: a plan carried to the theatre."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.analyze.guidance.carry import Carried, Misfit, carried, carried_by_views, misfit
from somascope.analyze.guidance.report import Plan, about_of, findings, guided, mask_of
from somascope.analyze.register.manual import triples
from somascope.core import (
    QUIET,
    Acquisition,
    Image,
    Label,
    Mask,
    Measurement,
    Param,
    Progress,
    Warp,
    operation,
)
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Float

Place: TypeAlias = tuple[float, float, float]
Entry: TypeAlias = Annotated[
    Place, Param("Where the path begins: L, P, S in the planning image", unit="mm")
]
Aim: TypeAlias = Annotated[
    Place | None, Param("Where it ends; the middle of the target when not given", unit="mm")
]
Radius: TypeAlias = Annotated[
    float, Param("Of the instrument or screw", unit="mm", minimum=0.0, maximum=30.0)
]
Margin: TypeAlias = Annotated[
    float, Param("To keep from critical structures", unit="mm", minimum=0.0, maximum=50.0)
]
Instrument: TypeAlias = Annotated[
    float, Param("Root mean square error of the tracked instrument", unit="mm", minimum=0.0)
]
Here: TypeAlias = Annotated[
    tuple[float, ...] | None,
    Param("L, P, S of fiducials in the theatre, one after another", unit="mm"),
]
There: TypeAlias = Annotated[
    tuple[float, ...] | None, Param("L, P, S of the same fiducials in the planning image",
                                    unit="mm")
]  # fmt: skip
Accept: TypeAlias = Annotated[bool, Param("Go on when the registration is not to be trusted")]


@operation("analyze.guide")
def guide(
    theatre: Image,
    planning: Image,
    target: Mask,
    *critical: Mask,
    entry: Entry,
    aim: Aim = None,
    radius: Radius = 1.5,
    margin: Margin = 3.0,
    by: Annotated[
        Literal["fiducials", "rigid", "bends"],
        Param("The map: fiducials alone, the images as rigid bodies (bone), or with a smooth bend"),
    ] = "rigid",
    fiducials_here: Here = None,
    fiducials_plan: There = None,
    fle: Annotated[
        float | None, Param("Localisation error of the fiducials, where it is known", unit="mm",
                            minimum=0.0)
    ] = None,
    instrument: Instrument = 0.0,
    accept: Accept = False,
    progress: Progress = QUIET,
) -> list[Mask | Warp | Label | Measurement]:  # fmt: skip
    """Carry a planned path and its target into an image of the theatre (CT, MR, ultrasound).

    Results: target, path, the ellipsoid in which the target lies with 95 % probability, and the
    critical structures as segments of the theatre's image; the registration; and a report:
    fiducial error, expected error at the target, clearance of the path with its uncertainty.
    """
    marks = _fiducials(fiducials_here, fiducials_plan)
    plan = Plan.made(target, critical, entry=entry, aim=aim, radius=radius)
    map_ = carried(
        theatre, planning, by=by, fiducials=marks, fle=fle, instrument=instrument, accept=accept,
        progress=Progress(lambda p, t: progress(0.8 * p, t)),
    )  # fmt: skip
    found: Misfit | None = None
    if by != "fiducials":
        found = misfit(theatre, planning, map_.warp, map_.points(plan.path.target))
        map_ = replace(map_, warp=found.told(map_.warp))
    _trusted(map_, accept=accept)
    result = guided(plan, map_, like=theatre.grid, misfit=found)
    about = about_of(theatre, planning, target, *critical)
    listed = findings(result, map_, margin=margin, aim=plan.path.target, about=about)
    progress(1.0, "reported")
    return [mask_of(result, about), map_.warp, *listed]


@operation("analyze.guide_views")
def guide_views(
    views: Acquisition,
    planning: Image,
    target: Mask,
    *critical: Mask,
    entry: Entry,
    aim: Aim = None,
    radius: Radius = 1.5,
    margin: Margin = 3.0,
    turn: Annotated[
        float, Param("Starting turns searched each way", unit="deg", minimum=0.0, maximum=60.0)
    ] = 12.0,
    fiducials_here: Here = None,
    fiducials_plan: There = None,
    instrument: Instrument = 0.0,
    accept: Accept = False,
    progress: Progress = QUIET,
) -> list[Mask | Warp | Label | Measurement]:
    """Carry a planned path and its target into an X-ray room, by a pair of radiographs.

    The planning CT is registered to the radiographs; masks keep their voxels and are turned into
    the room's frame. The report is that of `analyze.guide`; its uncertainty is that of the pose.
    """
    marks = _fiducials(fiducials_here, fiducials_plan)
    plan = Plan.made(target, critical, entry=entry, aim=aim, radius=radius)
    map_ = carried_by_views(
        views, planning, turn=turn, fiducials=marks, instrument=instrument,
        progress=Progress(lambda p, t: progress(0.8 * p, t)),
    )  # fmt: skip
    _trusted(map_, accept=accept)
    result = guided(plan, map_, like=None)
    about = about_of(views, planning, target, *critical)
    listed = findings(result, map_, margin=margin, aim=plan.path.target, about=about)
    progress(1.0, "reported")
    return [mask_of(result, about), replace(map_.warp, provenance=about["provenance"]), *listed]


def _fiducials(
    here: tuple[float, ...] | None, plan: tuple[float, ...] | None
) -> tuple[Float, Float] | None:
    if here is None and plan is None:
        return None
    if here is None or plan is None:
        raise ParameterError("fiducials are given in one frame; give fiducials_here and _plan")
    one, two = triples(here, "fiducials_here"), triples(plan, "fiducials_plan")
    if len(one) != len(two):
        raise ParameterError(
            f"{len(one)} fiducials are given in the theatre and {len(two)} in the plan; give the "
            "same ones in the same order"
        )
    return np.asarray(one), np.asarray(two)


def _trusted(map_: Carried, *, accept: bool) -> None:
    verdict = map_.warp.verdict
    if not verdict.trusted and not accept:
        raise Refused(
            f"nothing is carried through this registration: {verdict.words}. Register by hand or "
            "by fiducials first, or go on with accept=True"
        )
