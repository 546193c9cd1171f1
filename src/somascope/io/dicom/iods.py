"""Which DICOM object an image becomes, and what that object asks for (PS3.3 annex A)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom.plane import is_placed
from somascope.io.dicom.quantise import Rules

Layout = Literal["single", "cine", "nuclear", "functional", "raw"]


_WORD = Rules()
_EITHER = Rules(bytes=True)
_UNSIGNED = Rules(signed=False, bytes=True)


@dataclass(frozen=True)
class Kind:
    """A storage class and its rules.

    ``iod`` is the key in the table of modules; ``layout`` how frames become instances: one each
    (``single``), a film (``cine``), one volume (``nuclear``), functional groups, or that there are
    none (``raw``).
    ``rescale`` says that Rescale Slope and Intercept may differ from 1 and 0.
    """

    iod: str
    sop_class: str
    layout: Layout
    rules: Rules = _WORD
    rescale: bool = True
    colour: bool = False


_BASE = "1.2.840.10008.5.1.4.1.1."

CT = Kind("ct-image", _BASE + "2", "single")
MR = Kind("mr-image", _BASE + "4", "single")
PT = Kind("positron-emission-tomography-image", _BASE + "128", "single", Rules(zero_intercept=True))
NM = Kind("nuclear-medicine-image", _BASE + "20", "nuclear")
US = Kind("ultrasound-image", _BASE + "6.1", "single", _UNSIGNED, rescale=False, colour=True)
US_FILM = Kind(
    "ultrasound-multi-frame-image", _BASE + "3.1", "cine", _UNSIGNED, rescale=False, colour=True
)
DX = Kind("digital-x-ray-image", _BASE + "1.1", "single", _UNSIGNED, rescale=False)
DX_RAW = Kind("digital-x-ray-image", _BASE + "1.1.1", "single", _UNSIGNED, rescale=False)
"""Digital X-Ray Image Storage - For Processing."""
CR = Kind("computed-radiography-image", _BASE + "1", "single", Rules(signed=False))
SC = Kind("secondary-capture-image", _BASE + "7", "single", _EITHER, colour=True)
SC_WORDS = Kind(
    "multi-frame-grayscale-word-secondary-capture-image",
    _BASE + "7.3",
    "functional",
    Rules(signed=False),
)
SC_FILM_BYTES = Kind(
    "multi-frame-grayscale-byte-secondary-capture-image", _BASE + "7.2", "cine", _UNSIGNED
)
SC_FILM_WORDS = replace(SC_WORDS, layout="cine")
SC_COLOUR = Kind(
    "multi-frame-true-color-secondary-capture-image",
    _BASE + "7.4",
    "functional",
    Rules(signed=False, bytes=True),
    colour=True,
)
SC_FILM_COLOUR = replace(SC_COLOUR, layout="cine")
ENHANCED_CT = Kind("enhanced-ct-image", _BASE + "2.1", "functional")
ENHANCED_MR = Kind("enhanced-mr-image", _BASE + "4.1", "functional")
ENHANCED_PT = Kind("enhanced-pet-image", _BASE + "130", "functional")
SEGMENTATION = Kind("segmentation", _BASE + "66.4", "functional")
LABELMAP = Kind("segmentation", _BASE + "66.7", "functional")
PARAMETRIC_MAP = Kind("parametric-map", _BASE + "30", "functional")
RAW = Kind("raw-data", _BASE + "66", "raw")
REGISTRATION = Kind("spatial-registration", _BASE + "66.1", "raw")
DEFORMABLE = Kind("deformable-spatial-registration", _BASE + "66.3", "raw")
REPORT = Kind("comprehensive-3d-sr", _BASE + "88.34", "raw")
PSEUDO_COLOUR = Kind("pseudo-color-softcopy-presentation-state", _BASE + "11.3", "raw")

INVERSE = (CT, MR, DX, DX_RAW, CR, SC)
"""What may be MONOCHROME1: small values are shown white."""

_COUNTED = ("energy", "detector", "phase", "rotation", "rr", "timeslot", "view")
"""Axes that only NM has vectors for: its one instance is multi-frame anyway."""

KINDS = {
    k.sop_class: k
    for k in (
        *(CT, MR, PT, NM, US, US_FILM, DX, DX_RAW, CR, SC, SC_FILM_BYTES, SC_WORDS, SC_COLOUR),
        *(ENHANCED_CT, ENHANCED_MR, ENHANCED_PT, SEGMENTATION, LABELMAP, PARAMETRIC_MAP, RAW),
        REPORT,
        PSEUDO_COLOUR,
        REGISTRATION,
        DEFORMABLE,
    )
}
"""Every storage class written here."""


def choose(image: Image, *, multiframe: bool = False) -> Kind:
    """The storage class for an image.

    A modality that cannot hold this image (a colour CT, a volume of ultrasound, an ultrasound
    picture in MONOCHROME1, an Enhanced PET without a known radiopharmaceutical) becomes Secondary
    Capture and keeps its Modality.
    """
    colour = any(a.name == "channel" for a in image.axes)
    flat = image.grid.shape[0] == 1
    leading = {a.name for a in image.axes} - {"channel"}
    small = image.data.dtype.itemsize == 1
    film = len(leading) == 1 and leading <= {"t", "frame"}
    if image.modality == "US" and flat and small and (film or not leading):
        return US_FILM if leading else SC if inverse(image) else US
    if (
        film
        and flat
        and image.modality not in ("CT", "MR", "PT", "NM")
        and not is_placed(image.grid)
    ):
        if not colour:
            return SC_FILM_BYTES if small and image.data.dtype.kind in "bu" else SC_FILM_WORDS
        if small:
            return SC_FILM_COLOUR
    several = image.data.size > image.grid.shape[1] * image.grid.shape[2] * (3 if colour else 1)
    if colour:
        return SC_COLOUR if multiframe and several and small else SC
    if multiframe and not leading & {"flip", "ti", "kvp", *_COUNTED}:
        enhanced = {"CT": ENHANCED_CT, "MR": ENHANCED_MR, "PT": ENHANCED_PT}
        if image.modality in enhanced and (image.modality != "PT" or _has_tracer(image.attributes)):
            return enhanced[image.modality]
        if several:
            return SC_WORDS
    if image.modality in ("DX", "CR") and (not flat or leading):
        return SC
    if image.modality == "DX" and for_processing(image):
        return SC if colour else DX_RAW
    if image.modality == "DX" and not _counts(image.data):
        return SC
    classic = {"CT": CT, "MR": MR, "PT": PT, "NM": NM, "DX": DX, "CR": CR}
    return classic.get(image.modality, SC)


def for_processing(image: Image) -> bool:
    """Whether a radiograph is to be processed before anybody reads it (PS3.3 C.8.11.1)."""
    return image.attributes.get("PresentationIntentType") == "FOR PROCESSING"


def inverse(image: Image) -> bool:
    """Whether the image is shown with its small values white (MONOCHROME1, PS3.3 C.7.6.3.1.2)."""
    colour = any(a.name == "channel" for a in image.axes)
    return not colour and image.attributes.get("PhotometricInterpretation") == "MONOCHROME1"


def _counts(data: Array) -> bool:
    """Whether all values are whole numbers that 16 unsigned bits hold."""
    return bool(
        data.dtype.kind in "biuf"
        and data.min() >= 0
        and data.max() < 2**16
        and (data.dtype.kind != "f" or np.array_equal(data, np.rint(data)))
    )


def _has_tracer(attributes: Mapping[str, Any]) -> bool:
    """Whether all that Enhanced PET must say of its tracer and its corrections is known."""
    done = attributes.get("CorrectedImage") or ()
    done = done.split("\\") if isinstance(done, str) else done
    needed = {
        "ATTN": ("AttenuationCorrectionSource", "AttenuationCorrectionTemporalRelationship"),
        "DECY": ("DecayCorrectionDateTime",),
    }
    if not all(attributes.get(w) for flag in done for w in needed.get(flag, ())):
        return False
    below = table()["modules"]["enhanced-pet-isotope"]["within"]
    words = below["RadiopharmaceuticalInformationSequence"]["type1"].split()
    items = attributes.get("RadiopharmaceuticalInformationSequence")
    return (
        isinstance(items, (list, tuple))
        and len(items) > 0
        and all(
            isinstance(item, Mapping) and item.get(word)
            for item in items
            for word in words
            if word != "RadiopharmaceuticalAgentNumber"
        )
    )


@cache
def table() -> Mapping[str, Any]:
    """Modules of each IOD, and the Type 1, Type 2 and other attributes of each module.

    The facts are those of PS3.3 as they ship with highdicom, for the IODs written here.
    """
    text = files("somascope.io.dicom").joinpath("iod_table.json").read_text(encoding="utf-8")
    return json.loads(text)


@cache
def known(iod: str) -> frozenset[str]:
    """Keywords at the top level of all modules of an IOD."""
    modules = table()["modules"]
    return frozenset(
        word
        for name in table()["iods"][iod]
        for key in ("type1", "type2", "other")
        for word in modules[name].get(key, "").split()
    )


@cache
def mandatory(iod: str) -> Mapping[str, int]:
    """Keyword -> type (1 or 2) of what every instance of an IOD has at its top level."""
    modules = table()["modules"]
    result: dict[str, int] = {}
    for name, usage in table()["iods"][iod].items():
        if usage == "M":
            for kind in (2, 1):
                for word in modules[name].get(f"type{kind}", "").split():
                    result[word] = min(kind, result.get(word, kind))
    return result
