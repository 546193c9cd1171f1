"""What guidance says of a carried plan: numbers, a judgement in words, and the segments to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from somascope.analyze.guidance import codes
from somascope.analyze.guidance.carry import Carried, Misfit
from somascope.analyze.guidance.paths import Clearance, Path, clearance, ellipsoid
from somascope.analyze.measure.regions import regions, tracking
from somascope.core import (
    Acquisition,
    Code,
    Grid,
    Image,
    Label,
    Mask,
    Measurement,
    Provenance,
    Segment,
    Tracking,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

COLOURS = {"target": (96, 214, 128), "path": (255, 214, 64), "sure": (96, 176, 255)}
CRITICAL = (255, 84, 84)


@dataclass(frozen=True, eq=False)
class Plan:
    """A target (its first segment) and a path to it in the planning frame, and what to spare."""

    path: Path
    target: Mask
    critical: tuple[Mask, ...] = ()

    @classmethod
    def made(
        cls, target: Mask, critical: Sequence[Mask], *, entry: Sequence[float],
        aim: Sequence[float] | None, radius: float,
    ) -> Plan:  # fmt: skip
        """``aim``: where the path ends; by default the target's centre of mass."""
        if aim is None:
            body = regions(target)[0]
            aim = body.grid.to_world(np.argwhere(body.inside).mean(axis=0)).tolist()
        assert aim is not None
        return cls(Path.straight(entry, aim, radius=radius), target, tuple(critical))


@dataclass(frozen=True, eq=False)
class Guided:
    """A plan where the patient lies now."""

    path: Path
    covariance: Float
    entry_covariance: Float
    misfit: float | None
    near: tuple[tuple[Segment, Tracking, Clearance, float], ...]
    """Of each critical structure: its name, its identity, the clearance, its standard error."""
    planes: tuple[tuple[Segment, Array], ...]
    grid: Grid


def guided(plan: Plan, map_: Carried, *, like: Grid | None, misfit: Misfit | None = None) -> Guided:
    """Carry a plan; ``like``: the grid of the theatre's image, or None for an X-ray room.

    Raises
    ------
    ParameterError
        The target has no voxel in the theatre's image.
    """
    path = map_.path(plan.path)
    more = None if misfit is None else misfit.covariance
    at_target, at_entry = (map_.covariance(p, more) for p in (path.target, path.entry))
    target = map_.mask(plan.target, like)
    grid = target.grid
    body = regions(plan.target)[0].segment
    inside = target.plane(body.number) > 0.5 if target.fractional else target.plane(body.number)
    inside = np.asarray(inside) > 0
    if not inside.any():
        raise ParameterError(
            "the target lies outside the image of the theatre; register an image that shows it"
        )
    planes: list[tuple[Segment, Array]] = [
        (_named(body.label or "Target", body.concept, COLOURS["target"], body.tracking), inside),
        (_named("Path", codes.TRAJECTORY, COLOURS["path"]), path.drawn(grid)),
        (
            _named("Target, 95 %", codes.UNCERTAIN, COLOURS["sure"]),
            ellipsoid(path.target, at_target, grid),
        ),
    ]
    near: list[tuple[Segment, Tracking, Clearance, float]] = []
    for mask in plan.critical:
        moved = map_.mask(mask, like)
        for segment in mask.segments:
            plane = np.asarray(moved.plane(segment.number))
            there = plane > 0.5 if moved.fractional else plane > 0
            found = clearance(path, there, grid)
            if found is None:
                continue
            spread = map_.covariance(found.at, more)
            sigma = float(np.sqrt(max(found.towards @ spread @ found.towards, 0.0)))
            who = tracking(mask, segment)
            near.append((segment, who, found, sigma))
            planes.append((_named(who.name, segment.concept, CRITICAL, who), there))
    return Guided(
        path, at_target, at_entry, None if misfit is None else misfit.shift, tuple(near),
        tuple((replace(s, number=k), p) for k, (s, p) in enumerate(planes, 1)), grid,
    )  # fmt: skip


def _named(
    label: str, concept: Code, colour: tuple[int, int, int], who: Tracking | None = None
) -> Segment:
    return Segment(1, label, concept, "analyze.guide", colour, tracking=who)


def mask_of(result: Guided, about: dict[str, Any]) -> Mask:
    """Target, path, the 95 % ellipsoid of the target, and the critical structures, as planes."""
    return Mask(
        data=np.stack([p for _, p in result.planes]), grid=result.grid,
        segments=tuple(s for s, _ in result.planes), **about,
    )  # fmt: skip


def about_of(image: Image | Acquisition, *others: Image | Mask) -> dict[str, Any]:
    """Provenance, place and facts of what was found on ``image`` with the help of others."""
    sources = list(image.provenance.sources)
    for other in others:
        sources += [s for s in other.provenance.sources if s not in sources]
    return {
        "on": tuple(u for s in image.provenance.sources for u in s.uids),
        "provenance": Provenance(tuple(sources), image.provenance.steps),
        "attributes": dict(image.attributes),
    }


@dataclass(eq=False)
class _Report:
    about: dict[str, Any]
    found: list[Label | Measurement] = field(default_factory=list[Label | Measurement])

    def number(
        self, code: Code, value: float, unit: str, spread: float | None = None,
        who: Tracking | None = None,
    ) -> None:  # fmt: skip
        self.found.append(
            Measurement(
                concept=code, value=float(value), unit=unit, uncertainty=spread, tracking=who,
                **self.about,
            )
        )  # fmt: skip


def findings(
    result: Guided, map_: Carried, *, margin: float, aim: Float, about: dict[str, Any]
) -> list[Label | Measurement]:
    """Errors, lengths, clearances, and the judgement; ``aim``: the target in the plan, LPS mm."""
    from scipy.stats import chi2, norm

    report = _Report(about)
    known = map_.fiducials
    if known is not None:
        report.number(codes.FRE, known.fre, "mm")
        report.number(codes.FLE, known.fle, "mm", known.fle_spread or None)
    report.number(codes.TRE, np.sqrt(np.trace(result.covariance)), "mm")
    report.number(codes.TRE_ENTRY, np.sqrt(np.trace(result.entry_covariance)), "mm")
    longest = float(np.linalg.eigvalsh(result.covariance)[-1])
    report.number(codes.REACH, np.sqrt(max(longest, 0) * float(chi2.ppf(0.95, 3))), "mm")
    if result.misfit is not None:
        report.number(codes.MISFIT, result.misfit, "mm")
    if map_.warp.displacement is not None:
        report.number(codes.SHIFT, map_.shift(aim), "mm")
    report.number(codes.LENGTH, result.path.length, "mm")
    worst, said = 0.0, []
    for _, who, gap, sigma in result.near:
        breach = float(norm.cdf(-gap.distance / sigma)) if sigma > 0 else float(gap.distance < 0)
        worst = max(worst, breach)
        report.number(codes.CLEARANCE, gap.distance, "mm", sigma, who)
        report.number(codes.BREACH, 100 * breach, "%", who=who)
        said.append(f"{who.name} {gap.distance:.1f} ± {sigma:.1f} mm (breach {_percent(breach)})")
    least = min((gap.distance for _, _, gap, _ in result.near), default=np.inf)
    code = codes.HIT if least <= 0 else codes.NEAR if least < margin else codes.CLEAR
    verdict = map_.warp.verdict
    text = [f"Registration: {verdict.words}."]
    text.append(
        f"Expected error at the target {np.sqrt(np.trace(result.covariance)):.1f} mm (root mean "
        "square)."
    )
    text.append(
        f"Clearance, margin {margin:g} mm: {'; '.join(said)}." if said
        else "No critical structure was given."
    )  # fmt: skip
    sure = verdict.confidence * (1 - worst if code is not codes.HIT else 1)
    report.found.append(
        Label(concept=code, confidence=round(sure, 4), text=" ".join(text), **about)
    )
    return report.found


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-4 else "under 0.01 %"
