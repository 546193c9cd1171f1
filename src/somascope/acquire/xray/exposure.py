"""`acquire.xray.exposure_index`: how much radiation reached the detector (IEC 62494-1:2008)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.xray.correct import RAW, corrected
from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.fields import find_field
from somascope.acquire.xray.present import densities
from somascope.acquire.xray.radiograph import as_image
from somascope.core import Acquisition, Image, Param, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array, Float

PER_MICROGRAY = 100.0
"""``EI = c0 g(V)`` with ``c0 = 100 / uGy`` and ``g`` the inverse calibration (IEC 62494-1)."""


@operation("acquire.xray.exposure_index")
def exposure_index(
    image: Image | Acquisition,
    *,
    target: Annotated[
        float | None, Param("Target exposure index of this view; none: only the index", minimum=1.0)
    ] = None,
    sensitivity: Annotated[
        float | None,
        Param("Counts per uGy at RQA 5; none: the image's Sensitivity", unit="uGy-1", minimum=1e-6),
    ] = None,
) -> Image:
    """Exposure index and deviation index of a radiograph, written into its attributes.

    ``EI = 100 K`` with ``K`` in uGy the air kerma at RQA 5 that would give the value of interest:
    the median of the anatomy inside the collimated field, without the open beam.
    ``DI = 10 log10(EI / EI_T)``. Takes linear counts, or an acquisition, whose first exposure is
    corrected; returns that image with `ExposureIndex`, `TargetExposureIndex`, `DeviationIndex`,
    which `present` keeps.

    Raises
    ------
    UnitError
        A logarithmic image: its open beam's dose is lost.
    ParameterError
        No sensitivity known; nothing exposed.
    """
    given = _linear(image) if isinstance(image, Acquisition) else image
    one_plane(given, "acquire.xray.exposure_index")
    if given.unit != RAW:
        raise UnitError(
            f"the exposure index needs counts ({RAW}) and this image is in {given.unit!r}; correct "
            "the acquisition with logarithm off"
        )
    index = measured(given, sensitivity)
    attributes = {**given.attributes, "ExposureIndex": round(index, 2)}
    if target is not None:
        attributes["TargetExposureIndex"] = target
        attributes["DeviationIndex"] = round(10.0 * math.log10(max(index, 1e-9) / target), 2)
    result = given if not isinstance(image, Acquisition) else as_image(image)
    return replace(result, attributes={**result.attributes, **attributes, **_kind(result)})


def measured(image: Image, sensitivity: float | None = None) -> float:
    """The exposure index of an image in linear counts."""
    counts = image.data[0].astype(np.float64)
    if counts.max() <= 0:
        raise ParameterError("no pixel saw the beam: there is no exposure to index")
    per_gray = sensitivity if sensitivity is not None else _known(image)
    value = float(np.median(counts[relevant(counts, densities(image))]))
    return PER_MICROGRAY * value / per_gray


def facts_of(acquisition: Acquisition) -> dict[str, float]:
    """`ExposureIndex` of raw counts whose Sensitivity is known, for whoever makes an image."""
    if acquisition.unit != RAW or not acquisition.attributes.get("Sensitivity"):
        return {}
    return {"ExposureIndex": round(measured(_linear(acquisition)), 2)}


def relevant(counts: Float, log: Array) -> Array:
    """The relevant image region: inside the collimated field, behind the patient.

    Open beam is a narrow peak at the least attenuation with a gap behind it, as the skin leaves
    one; where there is no such peak (lungs to the blades, a flat field) all of the field counts.
    """
    inside = find_field(log).mask(log.shape)
    values = log[inside]
    above = values - np.percentile(values, 0.5)
    peak, gap = (above < 0.2).mean(), ((above >= 0.2) & (above < 0.5)).mean() / 1.5
    body = inside & (log > np.percentile(values, 0.5) + 0.35)
    if peak < 0.01 or gap > 0.3 * peak or body.sum() < 0.02 * counts.size:
        return inside
    return body


def _linear(acquisition: Acquisition) -> Image:
    if acquisition.unit != RAW:
        raise UnitError(
            f"the exposure index needs raw or linear counts and the samples are in "
            f"{acquisition.unit!r}; correct the acquisition with logarithm off"
        )
    if acquisition.samples.dtype.kind in "iu":
        linear = corrected(acquisition, logarithm=False)
        return as_image(acquisition.with_samples(linear))
    return as_image(acquisition)


def _kind(image: Image) -> dict[str, object]:
    keys = ("PixelIntensityRelationship", "PixelIntensityRelationshipSign")
    return {k: image.attributes[k] for k in keys if k in image.attributes}


def _known(image: Image) -> float:
    try:
        value = float(image.attributes["Sensitivity"])
    except (KeyError, TypeError, ValueError):
        raise ParameterError(
            "the detector's counts per uGy are not known (attribute Sensitivity); give sensitivity"
        ) from None
    if value <= 0:
        raise ParameterError(
            f"the detector's Sensitivity is {value:g}; give counts per uGy above 0"
        )
    return value
