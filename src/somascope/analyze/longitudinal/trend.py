"""What became of each lesion over all examinations: tables and charts from reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.analyze.longitudinal import codes
from somascope.analyze.longitudinal.change import days_between
from somascope.analyze.rules.ucum import convert
from somascope.core import Axis, Box, Grid, Image, Label, Measurement, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.finding import Code
from somascope.core.grid import Array
from somascope.process.chart import Curve, chart

Finding: TypeAlias = Label | Box | Measurement

SHOWN: dict[str, tuple[Code, str, str]] = {
    "volume": (codes.VOLUME, "volume", "mm3"),
    "long": (codes.LONG, "long axis", "mm"),
    "sum": (codes.SUM, "sum of diameters", "mm"),
    "burden": (codes.BURDEN, "volume of all lesions", "mm3"),
}


@dataclass(frozen=True)
class Trend:
    """One lesion over time: dates ``YYYYMMDD`` (or names of time points) in order, with values."""

    name: str
    uid: str
    times: tuple[str, ...]
    values: tuple[float, ...]
    spreads: tuple[float | None, ...]


def trends(findings: Sequence[Finding], concept: Code, *, unit: str = "") -> list[Trend]:
    """Values of one concept by lesion and time point, in the order the lesions come in.

    What two reports both say (the current values of one are the prior ones of the next) is taken
    from the later of them in the list.

    Parameters
    ----------
    unit
        Of the values; default that of `SHOWN`, or else that of the first finding.

    Raises
    ------
    UnitError
        A value cannot be told in that unit.
    """
    unit = unit or next((u for c, _, u in SHOWN.values() if c == concept), "")
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    names: dict[str, str] = {}
    for one in findings:
        if not isinstance(one, Measurement) or one.concept != concept:
            continue
        unit = unit or one.unit
        around = None if one.uncertainty is None else convert(one.uncertainty, one.unit, unit)
        value = convert(one.value, one.unit, unit)
        key = one.tracking.uid if one.tracking else ""
        names.setdefault(key, one.tracking.name if one.tracking else "all")
        time = one.time_point or str(one.attributes.get("StudyDate") or "")
        found.setdefault(key, {})[time] = (value, around)
    return [
        Trend(
            names[key], key, tuple(sorted(by)), tuple(by[t][0] for t in sorted(by)),
            tuple(by[t][1] for t in sorted(by)),
        )
        for key, by in found.items()
    ]  # fmt: skip


def picture(listed: Sequence[Trend], up: str, *, size: tuple[int, int] = (760, 360)) -> Array:
    """The trends as a chart ``(height, width, 3)`` uint8: days since the first examination."""
    dates = sorted({t for one in listed for t in one.times})
    if not dates:
        raise ParameterError("the reports say nothing that could be drawn over time")
    days = {t: days_between(dates[0], t) for t in dates}
    dated = all(d is not None for d in days.values())
    place = {t: float(d if dated and d is not None else k) for k, (t, d) in enumerate(days.items())}
    curves = [
        Curve(
            np.array([place[t] for t in one.times]), np.array(one.values),
            one.name if len(listed) <= 6 else "", dots=True, ink=k,
        )
        for k, one in enumerate(listed)
    ]  # fmt: skip
    return chart(curves, across="days" if dated else "examination", up=up, size=size)


@operation("analyze.trend")
def trend(
    *findings: Measurement,
    show: Annotated[
        Literal["volume", "long", "sum", "burden"],
        Param("Volume or long axis of each lesion, the sum of diameters, or the whole volume"),
    ] = "volume",
) -> Image:
    """Draw what became of each lesion over all examinations, from the reports of follow-ups.

    A flat RGB picture ``(3, 1, ny, nx)`` uint8; it has no place in the patient.
    """
    concept, words, unit = SHOWN[show]
    listed = trends(findings, concept)
    drawn = picture(listed, f"{words} ({unit})")
    data = np.ascontiguousarray(np.moveaxis(drawn, -1, 0)[:, None])
    grid = Grid.from_spacing(data.shape[-3:], (1.0, 1.0, 1.0))
    attributes = {
        k: v for k, v in findings[-1].attributes.items()
        if k.startswith(("Patient", "Study", "Accession", "Referring"))
    }  # fmt: skip
    attributes["SeriesDescription"] = f"Trend: {words}"
    return Image(data, grid, "OT", "1", (Axis("channel"),), findings[0].provenance, attributes)


def table(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """One row for each lesion: its course, volumes and long axes, changes with uncertainties."""
    rows: dict[str, dict[str, str]] = {}
    order = (codes.VOLUME, codes.LONG)
    for one in findings:
        if one.tracking is None or isinstance(one, Box):
            continue
        row = rows.setdefault(one.tracking.uid, {"lesion": one.tracking.name})
        if isinstance(one, Label):
            row["course"] = one.concept.meaning
            continue
        around = "" if one.uncertainty is None else f" ± {one.uncertainty:.3g}"
        said = f"{one.value:.5g}{around} {one.unit}"
        if one.concept in order:
            row[f"{one.concept.meaning.lower()} {one.time_point}".strip()] = said
        elif one.concept in (codes.VOLUME_CHANGE, codes.LONG_CHANGE, codes.DOUBLING):
            row[one.concept.meaning.lower()] = said
        row["tracking"] = one.tracking.uid
    return list(rows.values())
