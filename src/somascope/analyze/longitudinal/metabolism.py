"""Uptake of the hottest lesion by PERCIST: SUV by lean body mass, its peak and the glycolysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from somascope.analyze.longitudinal import codes
from somascope.analyze.longitudinal.course import Followed
from somascope.analyze.longitudinal.lesions import Lesion, box_of
from somascope.analyze.measure.uptake import peak
from somascope.core.errors import UnitError
from somascope.core.finding import Code
from somascope.core.image import Image
from somascope.io.dicom.suv import suv_factor, type_of

UNIT = "g/ml{SUVlbm(Janma)}"


def uptake(result: Followed) -> Iterator[tuple[Code, float, str, str]]:
    """Code, value, unit and ``then`` or ``now`` of what PERCIST asks for; nothing without SUV.

    Nothing of now where a lesion is not whole in the current image or could not be outlined there,
    and no change where one was not whole before.
    """
    try:
        one, two = (_lean(i) for i in (result.prior, result.current))
    except UnitError:
        return
    if not result.before:
        return
    before = [_peak(one, lesion) for lesion in result.before]
    # The hottest of each examination: it need not be the same lesion (PERCIST 1.0).
    yield codes.SUL_PRIOR, max(before), UNIT, "now"
    then = _glycolysis(one, result.before)
    yield codes.GLYCOLYSIS, then, "g{SUVlbm(Janma)}", "then"
    if not result.complete:
        return
    if result.after:
        yield codes.SUL_PEAK, max(_peak(two, lesion) for lesion in result.after), UNIT, "now"
    now = _glycolysis(two, result.after)
    yield codes.GLYCOLYSIS, now, "g{SUVlbm(Janma)}", "now"
    if then > 0 and result.comparable:
        yield codes.GLYCOLYSIS_CHANGE, 100 * (now / then - 1), "%", "now"


def _lean(image: Image) -> Image:
    """SUV by lean body mass (Janmahasatian)."""
    facts = dict(image.attributes)
    kind = type_of(image.unit)
    if image.unit == "Bq/ml":
        facts["Units"] = "BQML"
    elif kind is not None:
        facts |= {"Units": "CM2ML" if kind == "BSA" else "GML", "SUVType": kind}
    else:
        raise UnitError(f"a PET image in {image.unit!r} has no SUV")
    factor = suv_factor(facts, kind="LBMJANMA")
    return image.with_data((image.data * factor).astype(np.float32), unit=UNIT)


def _peak(image: Image, lesion: Lesion) -> float:
    """The highest mean over a sphere of 1 ml whose centre lies in the lesion."""
    inside = np.zeros(image.grid.shape, bool)
    inside[box_of(lesion.region)] = lesion.region.inside
    return peak(image.data.reshape(image.grid.shape), inside, image.grid)


def _glycolysis(image: Image, lesions: Sequence[Lesion]) -> float:
    """Sum over the lesions of mean SUL times volume in ml."""
    values = image.data.reshape(image.grid.shape)
    return sum(
        float(lesion.region.box(values)[lesion.region.inside].mean()) * lesion.size.volume / 1000
        for lesion in lesions
    )
