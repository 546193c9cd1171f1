"""Standardised uptake values of PET images."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from somascope.acquire.pet import decay
from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.io.dicom import suv as rules
from somascope.io.dicom.suv import SuvType

_CONCENTRATIONS = {"Bq/ml": 1.0, "kBq/ml": 1e3, "MBq/ml": 1e6}


@operation("acquire.pet.suv")
def suv(
    image: Image,
    *,
    kind: Annotated[
        SuvType,
        Param("Relative to body weight, lean body mass (Janmahasatian 2005 or James 1976), ideal "
              "weight, or body surface (Du Bois)"),
    ] = "BW",
    weight: Annotated[
        float | None, Param("Body weight; the patient's as stored if not given", unit="kg",
                            minimum=0.005, maximum=700.0)
    ] = None,
    height: Annotated[
        float | None, Param("Body height; the patient's as stored if not given", unit="m",
                            minimum=0.2, maximum=2.8)
    ] = None,
    dose: Annotated[
        float | None, Param("Injected activity less the residual in the syringe; as stored if not "
                            "given", unit="Bq", minimum=1e4, maximum=1e12)
    ] = None,
    uncorrected: Annotated[
        bool, Param("Also where no attenuation correction was done: not quantitative",
                    advanced=True)
    ] = False,
) -> Image:  # fmt: skip
    """Activity concentration to standardised uptake value: g/ml, or cm2/ml for body surface.

    ``SUV = concentration * size / dose left at the time the concentration is corrected to``. That
    time follows Decay Correction (START, ADMIN, NONE) by the rules of `io.dicom.suv.reference`; a
    frame that is not corrected for decay has a factor of its own. Any leading axes; float32.

    The image is in Bq/ml (kBq/ml, MBq/ml), an SUV already, or in counts that carry Philips' private
    factors.

    Raises
    ------
    UnitError
        Something that is needed is missing, impossible or contradictory; the message names it.
    """
    facts = _facts(image, weight=weight, height=height, dose=dose)
    if image.modality != "PT":
        raise UnitError(f"the image's modality is {image.modality!r}; SUVs are made of PET (PT)")
    done = facts.get("CorrectedImage") or ()
    done = done.split("\\") if isinstance(done, str) else list(done)
    if done and "ATTN" not in done and not uncorrected:
        raise UnitError(
            f"CorrectedImage {done} has no ATTN: without attenuation correction the values are not "
            "concentrations; reconstruct with it, or say uncorrected"
        )
    _check_half_life(facts)
    scale = _CONCENTRATIONS.get(image.unit, 1.0)
    factors = np.array([rules.suv_factor(facts, kind=kind, later=t) for t in _later(image, facts)])
    axes = [a.name for a in image.axes]
    if len(factors) > 1:
        after = image.data.ndim - axes.index("t") - 1
        factors = factors.reshape(-1, *(1,) * after)
    data = (np.asarray(image.data, np.float64) * (scale * factors)).astype(np.float32)
    attributes = {**image.attributes, "Units": "CM2ML" if kind == "BSA" else "GML"}
    attributes["SUVType"] = kind
    given = {"PatientWeight": weight, "PatientSize": height}
    attributes |= {word: value for word, value in given.items() if value is not None}
    return replace(image, data=data, unit=rules.UNITS[kind], attributes=attributes)


def _facts(
    image: Image, *, weight: float | None, height: float | None, dose: float | None
) -> dict[str, Any]:
    """The attributes, with what the image itself and the caller know better."""
    facts = dict(image.attributes)
    if image.unit in _CONCENTRATIONS:
        facts["Units"] = "BQML"
    stated = rules.type_of(image.unit)
    if stated is not None:
        facts |= {"Units": "CM2ML" if stated == "BSA" else "GML", "SUVType": stated}
    elif image.unit not in (*_CONCENTRATIONS, "{counts}", "{counts}/s", "1"):
        raise UnitError(f"the image is in {image.unit!r}; an SUV is made from Bq/ml")
    if weight is not None:
        facts["PatientWeight"] = weight
    if height is not None:
        facts["PatientSize"] = height
    if dose is not None:
        items = facts.get("RadiopharmaceuticalInformationSequence") or [{}]
        first = {**items[0], "RadionuclideTotalDose": dose}
        facts["RadiopharmaceuticalInformationSequence"] = [first, *items[1:]]
    return facts


def _check_half_life(facts: dict[str, Any]) -> None:
    """A half life that is not that of the nuclide named beside it is a wrong unit or a typo."""
    items = facts.get("RadiopharmaceuticalInformationSequence") or ()
    if not items:
        return
    half = rules.number(items[0], "RadionuclideHalfLife")
    try:
        named = decay.nuclide_of(facts)
    except ParameterError:
        return
    if half and abs(half / named.half_life - 1) > 0.02:
        raise UnitError(
            f"RadionuclideHalfLife is {half:g} s but the nuclide is {named.name} with "
            f"{named.half_life:g} s; one of them is wrong"
        )


def _later(image: Image, facts: dict[str, Any]) -> list[float]:
    """Seconds of each frame after the first, where its values are not corrected for decay."""
    axis = next((a for a in image.axes if a.name == "t"), None)
    if axis is None or facts.get("DecayCorrection") != "NONE" or facts.get("Units") != "BQML":
        return [0.0]
    if not axis.values:
        raise UnitError(
            "the frames are not corrected for decay and their times are unknown; give the axis t "
            "its times in s"
        )
    times = decay.seconds(axis)
    return [float(t - times[0]) for t in times]
