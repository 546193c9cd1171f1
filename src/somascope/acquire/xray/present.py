"""`acquire.xray.present`: "for processing" becomes "for presentation"."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.fields import find_field
from somascope.acquire.xray.musica import equalised
from somascope.acquire.xray.radiograph import as_image
from somascope.core import Acquisition, Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid


@operation("acquire.xray.present")
def present(
    image: Image | Acquisition,
    *,
    enhancement: Annotated[
        float, Param("Strength of the multi-scale contrast; 0: none", minimum=0.0, maximum=1.0)
    ] = 0.6,
    edges: Annotated[float, Param("Extra gain of fine detail", minimum=0.0, maximum=5.0)] = 0.4,
    contrast: Annotated[
        float, Param("Slope of the tone curve; near 0: a straight line", minimum=0.1, maximum=12.0)
    ] = 3.5,
    brightness: Annotated[
        float, Param("Shift of the tone curve", minimum=-0.4, maximum=0.4, step=0.01)
    ] = 0.0,
    polarity: Annotated[
        Literal["bone_white", "bone_black"], Param("How dense tissue is shown")
    ] = "bone_white",
    photometric: Annotated[
        Literal["MONOCHROME2", "MONOCHROME1"],
        Param("How it is stored; the picture is the same", advanced=True),
    ] = "MONOCHROME2",
    shutter: Annotated[
        bool, Param("Find the collimated field and darken what lies outside")
    ] = True,
    plane: Annotated[
        Literal["detector", "patient"],
        Param("Where lengths are true: Pixel Spacing at the detector, or in the patient's middle"),
    ] = "detector",
    bits: Annotated[int, Param("Bits of the P-values", minimum=8, maximum=16, advanced=True)] = 12,
) -> Image:
    """Make a radiograph ready for reading: P-values for a GSDF display, written as DX.

    Multi-scale contrast, then a sigmoid tone curve over the range of the anatomy inside the
    collimated field. Line integrals, counts (their logarithm is taken) or an acquisition (its first
    exposure is corrected, its exposure index noted) become uint16 P-values ``0 .. 2^bits - 1``
    (PS3.14), shape ``(1, rows, columns)``, with the full range as window.

    Raises
    ------
    ParameterError
        Not one plane, NaN, or an image without any exposed anatomy.
    """
    given = _indexed(image) if isinstance(image, Acquisition) else image
    one_plane(given, "acquire.xray.present")
    log = densities(given)
    field = find_field(log) if shutter else None
    inside = np.ones(log.shape, bool) if field is None else field.mask(log.shape)
    work = np.where(inside, log, np.median(log[inside])).astype(np.float32)
    if enhancement > 0:
        work = equalised(
            work, power=1.0 - 0.5 * enhancement, edges=edges * enhancement,
            latitude=1.0 - 0.5 * enhancement,
        )  # fmt: skip
    low, high = anatomy_range(log, work, inside)
    x = np.clip((work - low) / (high - low) - brightness, 0.0, 1.0)
    tone = sigmoid(x, contrast)
    if polarity == "bone_black":
        tone = 1.0 - tone
    tone = np.where(inside, tone, 0.0)
    top = 2**bits - 1
    if photometric == "MONOCHROME1":
        tone = 1.0 - tone
    values = np.rint(tone * top).astype(np.uint16)
    return replace(
        given,
        data=values[None],
        grid=_placed(given, plane),
        modality="DX",
        unit="1",
        attributes={**given.attributes, **_said(photometric, bits, given)},
    )


def _indexed(acquisition: Acquisition) -> Image:
    """The first exposure, with its exposure index where the detector's sensitivity is known."""
    from somascope.acquire.xray.exposure import facts_of

    image = as_image(acquisition)
    return replace(image, attributes={**image.attributes, **facts_of(acquisition)})


def densities(image: Image) -> Array:
    """Values that rise with what the beam met: line integrals as they are, the log of counts."""
    plane = np.asarray(image.data[0], np.float32)
    if image.unit == "{counts}" or image.attributes.get("PixelIntensityRelationship") == "LIN":
        top = float(np.percentile(plane, 99.9))
        if top <= 0 and plane.min() >= 0:
            raise ParameterError("the image is empty: no pixel saw the beam")
        # The noise around zero behind a blade is no mistake; more than that is.
        if plane.min() < -0.02 * max(top, 0.0):
            raise ParameterError(
                f"the smallest count is {plane.min():g}; a linear radiograph is not negative"
            )
        return -np.log(np.maximum(plane, 1e-4 * top) / top)
    return plane * np.float32(direction(image))


def direction(image: Image) -> int:
    """1 where dense tissue has high values on a logarithmic scale, -1 where it has low ones.

    As Pixel Intensity Relationship Sign says (-1: higher values are less radiation); without it,
    MONOCHROME1 shows small values white, so they are the dense ones.
    """
    sign = str(image.attributes.get("PixelIntensityRelationshipSign", ""))
    if sign in ("1", "-1"):
        return -int(sign)
    return -1 if image.attributes.get("PhotometricInterpretation") == "MONOCHROME1" else 1


def anatomy_range(log: Array, work: Array, inside: Array) -> tuple[float, float]:
    """Limits of the tone curve: where the anatomy lies, without the open beam.

    Pixels that met less than a twelfth of the dense parts' attenuation are open beam or skin.
    """
    values = log[inside]
    floor, dense = np.percentile(values, (0.5, 99.0))
    if not dense - floor > 1e-6:
        raise ParameterError(
            "the image has one value everywhere: nothing was exposed; check collimation and the "
            "raw data"
        )
    body = inside & (log > floor + (dense - floor) / 12.0)
    if body.sum() < 16:
        body = inside
    low, high = np.percentile(work[body], (1.0, 99.7))
    span = max(float(high - low), 1e-6)
    return float(low) - 0.05 * span, float(high) + 0.02 * span


def sigmoid(x: Array, slope: float) -> Array:
    """A curve through (0, 0), (0.5, 0.5) and (1, 1) that is steepest in the middle."""
    ends = 1.0 / (1.0 + np.exp(slope / 2.0))
    y = 1.0 / (1.0 + np.exp(-slope * (x - 0.5)))
    return (y - ends) / (1.0 - 2.0 * ends)


def _placed(image: Image, plane: str) -> Grid:
    """The detector's grid, or the same pixels in the plane where the patient's middle is."""
    if plane == "detector":
        return image.grid
    facts = image.attributes
    try:
        far, near = (
            float(facts["DistanceSourceToDetector"]),
            float(facts["DistanceSourceToPatient"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ParameterError(
            "the distances of source, patient and detector are not known (DistanceSourceToDetector,"
            " DistanceSourceToPatient); show lengths in the plane of the detector"
        ) from None
    # The central ray meets the middle of the detector; its normal points to the source.
    grid = image.grid
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    source = centre + far * grid.direction[:, 0]
    affine = grid.affine.copy()
    affine[:3, 1:3] *= near / far
    affine[:3, 3] = source + (affine[:3, 3] - source) * near / far
    return Grid(grid.shape, affine, grid.frame_of_reference)


def _said(photometric: str, bits: int, image: Image) -> dict[str, Any]:
    return {
        "PhotometricInterpretation": photometric,
        "PresentationIntentType": "FOR PRESENTATION",
        "BitsStored": bits,
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1 if photometric == "MONOCHROME2" else 1,
        "WindowCenter": float(2 ** (bits - 1)),
        "WindowWidth": float(2**bits),
        "VOILUTFunction": "LINEAR",
        "BurnedInAnnotation": "NO",
        "ImageLaterality": image.attributes.get("ImageLaterality") or "U",
    }
