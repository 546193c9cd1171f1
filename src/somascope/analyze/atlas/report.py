"""`analyze.region_report`: volumes of all regions, and where they stand in a cohort."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.atlas.cohort import SEXES, Cohort, load_cohort
from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import Chosen, Region, finding, regions
from somascope.analyze.measure.surface import volume_uncertainty
from somascope.core import QUIET, Code, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import ParameterError

_NAME = "analyze.region_report"

Z_SCORE = Code("121416", "DCM", "Z-Score of measurement")
CENTILE = Code("121415", "DCM", "Percentile Ranking of measurement")
EXPECTED = Code("EXPECTED_VOLUME", "99SOMASCOPE", "Volume expected from the cohort")
SHARE = Code("VOLUME_SHARE", "99SOMASCOPE", "Share of the volume of all regions")

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def volume(mask: Mask, region: Region) -> tuple[float, float]:
    """Volume in ml and its standard uncertainty: voxels counted, fractions added up."""
    spread = volume_uncertainty(region.inside, region.grid) / 1000
    if mask.fractional:
        plane = np.asarray(mask.plane(region.segment.number), np.float64)
        return float(plane.sum()) * mask.grid.voxel_volume / 1000, spread
    return region.volume / 1000, spread


def age_of(attributes: Mapping[str, object]) -> float | None:
    """Years of ``PatientAge`` (``063Y``, ``018M``), or None."""
    found = _AGE.fullmatch(str(attributes.get("PatientAge") or "").strip().upper())
    return int(found[1]) * _YEARS[found[2]] if found else None


def gathered(reports: Sequence[tuple[Sequence[Measurement], float | None, str | None]]) -> Cohort:
    """A cohort of many people's region reports: findings, age in years, sex (F, M) of each.

    Regions are named by the findings' tracking identifiers; volumes become ml.
    """
    from somascope.analyze.rules.ucum import convert

    told: list[dict[str, float]] = [
        {
            f.tracking.name: convert(f.value, f.unit, "ml")
            for f in findings
            if f.concept == codes.VOLUME and f.tracking
        }
        for findings, _, _ in reports
    ]
    names = list(dict.fromkeys(n for one in told for n in one))
    if not names:
        raise ParameterError("the reports tell no volume; make them with analyze.region_report")
    columns = {n: np.array([one.get(n, np.nan) for one in told]) for n in names}
    ages = np.array([np.nan if age is None else age for _, age, _ in reports])
    sexes = np.array([SEXES.index(s) if s in SEXES else np.nan for _, _, s in reports], float)
    known = {"age": ages, "sex": sexes}
    return Cohort(columns, {n: v for n, v in known.items() if np.isfinite(v).any()})


@operation(_NAME)
def region_report(
    mask: Mask,
    *,
    cohort: Annotated[
        str, Param("Table of a cohort: a CSV file (age, sex, one column in ml for each region), a "
                   "folder with one, or a name in SOMASCOPE_ATLASES; empty: volumes alone",
                   opens="cohort")
    ] = "",
    by: Annotated[
        str, Param("What the cohort's volumes are corrected for, with commas: age, sex, head; "
                   "empty: nothing")
    ] = "age,sex",
    age: Annotated[
        float | None, Param("Of the person; none: as the image says", unit="a", minimum=0.0,
                            maximum=130.0)
    ] = None,
    sex: Annotated[
        Literal["F", "M"] | None, Param("Of the person; none: as the image says")
    ] = None,
    head: Annotated[
        float | None, Param("Volume within the skull, for a cohort with head_ml", unit="ml",
                            minimum=100.0, maximum=3000.0)
    ] = None,
    curve: Annotated[
        int, Param("Power of age up to which its course is bent", minimum=1, maximum=3,
                   advanced=True)
    ] = 1,
    segment: Chosen = 0,
    progress: Progress = QUIET,
) -> list[Measurement]:  # fmt: skip
    """Report the volume of every region and, with a cohort, how usual it is for age and sex.

    Volumes in ml (fractions of a fractional mask are added up) and the share of all regions; with a
    cohort the expected volume with the spread of people like this one, the centile, and the
    z-score of the same centile (Student's distribution: exact for small cohorts). The tracking
    identifier is the segment's, by whose name the cohort's column is found; regions that the cohort
    does not have get a volume alone.

    Raises
    ------
    NotFound, CorruptFile
        There is no such table, or it cannot be read.
    ParameterError
        The mask is empty; age or sex is not known; the cohort has none of the regions.
    Refused
        The cohort is too small, or does not cover a person like this one.
    """
    listed = regions(mask, segment=segment)
    table = load_cohort(cohort) if cohort else None
    about = _about(mask, by, age, sex, head) if table is not None else {}
    if table is not None and not any(r.segment.label in table.columns for r in listed):
        raise ParameterError(
            f"{_NAME}: the cohort has columns {', '.join(table.columns)} and none of the regions "
            f"{', '.join(r.segment.label for r in listed)}; name them alike"
        )
    measured = [(r, *volume(mask, r)) for r in listed]
    total = sum(v for _, v, _ in measured)
    found: list[Measurement] = []
    for region, value, spread in progress.over(measured, "regions"):
        one = region.segment
        found.append(finding(mask, one, "", value, "ml", code=codes.VOLUME, uncertainty=spread))
        if len(measured) > 1 and total > 0:
            found.append(finding(mask, one, "", 100 * value / total, "%", code=SHARE))
        if table is None or one.label not in table.columns:
            continue
        at = table.standing(one.label, value, about=about, curve=curve)
        expected = finding(mask, one, "", at.expected, "ml", code=EXPECTED, uncertainty=at.spread)
        found += [
            expected,
            finding(mask, one, "", at.z, "1", code=Z_SCORE),
            finding(mask, one, "", at.centile, "%", code=CENTILE),
        ]
    return found


def _about(
    mask: Mask, by: str, age: float | None, sex: str | None, head: float | None
) -> dict[str, float]:
    """Covariates of the person, as asked for."""
    names = [n.strip() for n in by.split(",") if n.strip()]
    known: dict[str, float] = {}
    years = age if age is not None else age_of(mask.attributes)
    which = sex or str(mask.attributes.get("PatientSex") or "")
    for name in names:
        if name == "age" and years is not None:
            known["age"] = years
        elif name == "sex" and which in SEXES:
            known["sex"] = float(SEXES.index(which))
        elif name == "head" and head is not None:
            known["head_ml"] = head
        elif name in ("age", "sex", "head"):
            raise ParameterError(
                f"{_NAME}: the {name} of the person is not known; give {name}, or leave it out of "
                f"by={by!r}"
            )
        else:
            raise ParameterError(f"{_NAME}: by is {by!r}; use age, sex and head")
    return known
