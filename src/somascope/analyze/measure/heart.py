"""`analyze.ejection_fraction`: volumes of the left ventricle at both ends of the beat."""

from __future__ import annotations

import math
from typing import Annotated

from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import finding, regions
from somascope.analyze.measure.surface import volume_uncertainty
from somascope.core import Mask, Measurement, Param, operation
from somascope.core.errors import GeometryError, ParameterError

_NAME = "analyze.ejection_fraction"


@operation(_NAME)
def ejection_fraction(
    diastole: Mask,
    systole: Mask,
    *,
    segment: Annotated[
        int, Param("Segment of the cavity in both; 0: all of them together", minimum=0,
                   maximum=65535)
    ] = 0,
) -> list[Measurement]:  # fmt: skip
    """Measure end-diastolic and end-systolic volume, stroke volume and ejection fraction.

    By Simpson's rule over the voxels: their number times their volume, in ml. Uncertainties are
    those of the voxels' size, the two phases independent of one another.

    Raises
    ------
    GeometryError
        The masks are of different frames of reference.
    ParameterError
        One is empty, or the heart is larger in systole: the inputs are likely exchanged.
    """
    frames = {m.grid.frame_of_reference for m in (diastole, systole)} - {""}
    if len(frames) > 1:
        raise GeometryError(
            f"{_NAME}: the masks lie in frames of reference {' and '.join(sorted(frames))}; give "
            "two phases of one examination"
        )
    volumes: list[float] = []
    spreads: list[float] = []
    for mask in (diastole, systole):
        parts = regions(mask, segment=segment)
        volumes.append(sum(p.volume for p in parts) / 1000)
        spreads.append(math.hypot(*(volume_uncertainty(p.inside, p.grid) for p in parts)) / 1000)
    (ed, es), (u_ed, u_es) = volumes, spreads
    if es > ed:
        raise ParameterError(
            f"{_NAME}: {es:.4g} ml in systole are more than {ed:.4g} ml in diastole; exchange the "
            "masks"
        )
    fraction = (ed - es) / ed
    # d(1 - es/ed) = -d es / ed + es d ed / ed^2
    spread = math.hypot(u_es / ed, es * u_ed / ed**2)
    rows = [
        (codes.END_DIASTOLIC, ed, "ml", u_ed),
        (codes.END_SYSTOLIC, es, "ml", u_es),
        (codes.STROKE_VOLUME, ed - es, "ml", math.hypot(u_ed, u_es)),
        (codes.EJECTION_FRACTION, 100 * fraction, "%", 100 * spread),
    ]
    return [
        finding(diastole, None, c.meaning, value, unit, code=c, uncertainty=u)
        for c, value, unit, u in rows
    ]
