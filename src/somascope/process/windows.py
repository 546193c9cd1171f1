"""Which window to show an image with: presets per modality, and automatic windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core import Image
from somascope.core.errors import NotFound, UnitError
from somascope.core.grid import Array

Function: TypeAlias = Literal["linear", "linear_exact", "sigmoid"]

HOUNSFIELD = "[hnsf'U]"

SAMPLES = 2_000_003
"""Values that an automatic window is told from; a prime, so that no row is left out."""


@dataclass(frozen=True)
class Preset:
    """A window that readers know by name, for values of one ``unit``."""

    name: str
    label: str
    modality: str
    centre: float
    width: float
    unit: str = HOUNSFIELD


_CT = (
    ("abdomen", "Abdomen", 50, 400),
    ("angio", "Angiography", 300, 600),
    ("bone", "Bone", 400, 1800),
    ("brain", "Brain", 40, 80),
    ("fat", "Fat (adipose tissue)", -100, 160),
    ("liver", "Liver", 80, 150),
    ("lung", "Lung", -600, 1500),
    ("mediastinum", "Mediastinum", 50, 350),
    ("soft_tissue", "Soft tissue", 40, 400),
    ("spine", "Spine", 50, 250),
    ("stroke", "Stroke", 35, 30),
    ("subdural", "Subdural", 75, 215),
    ("temporal_bone", "Temporal bone", 700, 4000),
)
_PET = (("suv_5", "SUV 0 to 5", 5), ("suv_10", "SUV 0 to 10", 10), ("suv_20", "SUV 0 to 20", 20))

PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        *(Preset(n, label, "CT", float(c), float(w)) for n, label, c, w in _CT),
        *(Preset(n, label, "PT", top / 2, float(top), "g/ml") for n, label, top in _PET),
        Preset("adc", "ADC 0 to 3", "MR", 1.5e-3, 3e-3, "mm2/s"),
        Preset("t1", "T1 0 to 2.5 s", "MR", 1250.0, 2500.0, "ms"),
        Preset("t2", "T2 0 to 200 ms", "MR", 100.0, 200.0, "ms"),
    )
}
"""By name. Centre and width in the unit of the preset, as commonly set at consoles."""

PresetName: TypeAlias = Literal[
    "auto", "abdomen", "adc", "angio", "bone", "brain", "fat", "full", "liver", "lung",
    "mediastinum", "soft_tissue", "spine", "stroke", "subdural", "suv_10", "suv_20", "suv_5",
    "t1", "t2", "temporal_bone",
]  # fmt: skip

CT_WINDOWS: dict[str, tuple[float, float]] = {
    p.name: (p.centre, p.width) for p in PRESETS.values() if p.modality == "CT"
}
"""Centre and width in HU."""


def presets_for(modality: str, unit: str) -> list[Preset]:
    """The presets that fit an image: of its modality and in its unit."""
    return [p for p in PRESETS.values() if p.modality == modality and p.unit == unit]


def chosen(image: Image, name: str, *, function: Function = "linear_exact") -> tuple[float, float]:
    """Centre and width of a preset, of ``auto`` (`automatic`) or of ``full`` (all finite values).

    Raises `UnitError` where the image is in another unit than the preset, and `NotFound`.
    """
    if name == "auto":
        return automatic(image, function=function)
    if name == "full":
        values = _finite(np.ascontiguousarray(image.data).reshape(-1))
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        return _between(low, high, function)
    if name not in PRESETS:
        raise NotFound(f"no window {name!r}; there are auto, full, {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if image.unit != preset.unit:
        said = "Hounsfield units" if preset.unit == HOUNSFIELD else repr(preset.unit)
        raise UnitError(
            f"the {name} window is in {said} and this image is in {image.unit!r}; give centre and "
            "width"
        )
    if function == "linear" and preset.width < 1:
        low = preset.centre - preset.width / 2
        return _between(low, low + preset.width, function)
    return preset.centre, preset.width


def automatic(image: Image, *, function: Function = "linear") -> tuple[float, float]:
    """Centre and width for an image that nobody chose a window for.

    The first one in its header (`WindowCenter`, `WindowWidth`) where there is a usable one.
    Otherwise percentiles of the finite values that count: CT in HU, 1 to 99 of what is above
    -900 HU (not air, not padding); MR, 1 to 99.5 of what is not background (the lowest value); PET
    and NM, from 0 to 99.8 of what is above 0; radiographs, 1 to 99 without the extremes (collimator
    and burnt-out air); ultrasound in bytes, all of them; everything else 0.5 to 99.5. A constant
    image gets a window of width 1 whose lower end it is.
    """
    given = from_header(image.attributes, function=function)
    if given is not None:
        return given
    values = np.ascontiguousarray(image.data).reshape(-1)
    values = _finite(values[:: max(values.size // SAMPLES, 1)])
    if image.modality == "US" and image.data.dtype == np.uint8:
        return _between(0.0, 255.0, function)
    low, high = _ends(values, image.modality, image.unit)
    return _between(low, high, function)


def from_header(
    attributes: Mapping[str, Any], *, function: Function = "linear"
) -> tuple[float, float] | None:
    """The first window of the header; None where there is none, or of a width ``function`` has not.

    Widths of zero and below, and below 1 with ``linear``, are no windows (PS3.3 C.11.2.1.2.1).
    """
    centre, width = (_first(attributes.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or not (np.isfinite(centre) and np.isfinite(width)):
        return None
    if width <= 0 or (function == "linear" and width < 1):
        return None
    return centre, width


def _ends(values: Array, modality: str, unit: str) -> tuple[float, float]:
    shares, front = (0.5, 99.5), values
    if modality == "CT" and unit == HOUNSFIELD:
        shares, front = (1.0, 99.0), values[values > -900]
    elif modality == "MR" and values.size:
        shares, front = (1.0, 99.5), values[values > values.min()]
    elif modality in ("PT", "NM"):
        shares, front = (0.0, 99.8), values[values > 0]
    elif modality in ("DX", "CR", "MG", "XA", "RF", "IO") and values.size:
        shares, front = (1.0, 99.0), values[(values > values.min()) & (values < values.max())]
    front = front if front.size else values
    if not front.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(front, shares))
    if modality in ("PT", "NM") and values.min() >= 0:
        low = 0.0
    return low, high


def _between(low: float, high: float, function: Function) -> tuple[float, float]:
    if not high > low:
        high = low + 1.0
    if function == "linear":
        # Its lower end is c - 0.5 - (w - 1) / 2, its upper c - 0.5 + (w - 1) / 2.
        return (low + high) / 2 + 0.5, high - low + 1.0
    return (low + high) / 2, high - low


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _first(value: Any) -> float | None:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
