"""From stored values to what a screen shows: modality LUT, VOI window, photometric interpretation.

PS3.3 C.7.6.3.1 (photometric interpretation), C.11.1 (modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
LARGEST = 1e12
"""Of a window's numbers; stored values that are integers end at 2**32."""
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """Centre and width in the units of the modality LUT's output, and the VOI LUT Function."""

    centre: float
    width: float
    function: str = "LINEAR"

    @classmethod
    def parse(cls, text: str) -> Window:
        """``center,width,function`` of PS3.18 8.3.5.1.4; `ParameterError` where it is not that."""
        items = text.split(",")
        number = re.compile(r"[+-]?(\d{1,12}(\.\d{0,12})?|\.\d{1,12})([eE][+-]?\d{1,2})?")
        if len(items) not in (2, 3) or not all(number.fullmatch(i.strip()) for i in items[:2]):
            raise ParameterError(f"window={text[:60]!r}; give center,width,function")
        function = items[2].strip().upper().replace("-", "_") if len(items) == 3 else "LINEAR"
        if function not in FUNCTIONS:
            raise ParameterError(f"window function {items[2][:20]!r}; there is {FUNCTIONS}")
        centre, width = float(items[0]), float(items[1])
        if max(abs(centre), width) > LARGEST:
            raise ParameterError(f"window={text[:60]!r}; numbers up to {LARGEST:g} are taken")
        if width <= 0 or (function == "LINEAR" and width < 1):
            raise ParameterError(f"window width {width:g}; give at least 1")
        return cls(centre, width, function)

    def apply(self, values: Array) -> Array:
        """``values`` as uint8 0 to 255, same shape (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        x = values.astype(np.float32, copy=False)
        c, w = self.centre, self.width
        if self.function == "SIGMOID":
            y = 1 / (1 + np.exp(np.clip(-4 * (x - c) / w, -80, 80)))
        elif self.function == "LINEAR_EXACT":
            y = (x - c) / w + 0.5
        elif w <= 1:
            y = (x > c - 0.5).astype(np.float32)
        else:
            y = (x - (c - 0.5)) / (w - 1) + 0.5
        return (np.clip(y, 0, 1) * 255 + 0.5).astype(np.uint8)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if hasattr(value, "__getitem__") and not isinstance(value, str):
        if len(value) == 0:
            return None
        value = value[0]
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def frame_groups(dataset: Dataset, number: int) -> list[Dataset]:
    """Where a frame's attributes may stand, nearest first: its functional groups, shared, top."""
    found: list[Dataset] = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame and number <= len(per_frame):
        found.append(per_frame[number - 1])
    shared = dataset.get("SharedFunctionalGroupsSequence")
    if shared:
        found.append(shared[0])
    return found


def _in_groups(dataset: Dataset, number: int, sequence: str) -> Dataset:
    for group in frame_groups(dataset, number):
        items = group.get(sequence)
        if items:
            return items[0]
    return dataset


def modality(dataset: Dataset, number: int, stored: Array) -> Array:
    """Stored values through the frame's modality LUT (table, or slope and intercept)."""
    from pydicom.pixels.processing import apply_modality_lut

    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset)
    source = _in_groups(dataset, number, "PixelValueTransformationSequence")
    slope, intercept = _first(source.get("RescaleSlope")), _first(source.get("RescaleIntercept"))
    if slope in (None, 0.0) or (slope == 1.0 and not intercept):
        return stored
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept or 0)


def own_window(dataset: Dataset, number: int) -> Window | None:
    """The frame's first VOI window, if it has a usable one."""
    source = _in_groups(dataset, number, "FrameVOILUTSequence")
    centre, width = _first(source.get("WindowCenter")), _first(source.get("WindowWidth"))
    if centre is None or width is None or width <= 0 or not np.isfinite([centre, width]).all():
        return None
    function = str(source.get("VOILUTFunction", "LINEAR") or "LINEAR")
    return Window(centre, max(width, 1.0), function if function in FUNCTIONS else "LINEAR")


def full_window(values: Array, padding: float | None) -> Window:
    """A window over the values that are there, without outliers and without pixel padding."""
    flat = values.ravel()
    if padding is not None:
        kept = flat[flat != padding]
        flat = kept if kept.size else flat
    flat = flat[:: max(1, flat.size // 65536)]
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    low, high = (float(v) for v in np.percentile(flat, (0.5, 99.5)))
    if high <= low:
        low, high = float(flat.min()), float(flat.max())
    return Window((low + high) / 2, max(high - low, 1e-6), "LINEAR_EXACT")


def grey(dataset: Dataset, number: int, stored: Array, window: Window | None) -> Array:
    """uint8 ``(ny, nx)`` of one grey frame's stored values ``(ny, nx)``; 0 is black."""
    from pydicom.pixels.processing import apply_voi_lut

    values = modality(dataset, number, stored)
    chosen = window or own_window(dataset, number)
    if chosen is None and dataset.get("VOILUTSequence") and values.dtype.kind in "ui":
        table = apply_voi_lut(values, dataset, prefer_lut=True).astype(np.float32)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2]) or 16
        shown = (np.clip(table / (2**bits - 1), 0, 1) * 255 + 0.5).astype(np.uint8)
    else:
        if chosen is None:
            padding = _first(dataset.get("PixelPaddingValue"))
            if padding is not None:
                mapped = modality(dataset, number, np.array([[padding]], np.float32))
                padding = float(mapped[0, 0])
            chosen = full_window(values, padding)
        shown = chosen.apply(values)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return 255 - shown
    return shown


def colour(dataset: Dataset, stored: Array, window: Window | None) -> Array:
    """uint8 ``(ny, nx, 3)`` of a decoded RGB frame ``(ny, nx, 3)`` of uint8 or uint16."""
    bits = 8 * stored.dtype.itemsize
    if dataset.get("PhotometricInterpretation") != "PALETTE COLOR":
        bits = min(bits, int(dataset.get("BitsStored", bits) or bits))
    if window is not None:
        return window.apply(stored)
    if stored.dtype == np.uint8 and bits <= 8:
        return stored
    return (np.clip(stored.astype(np.float32) / (2**bits - 1), 0, 1) * 255 + 0.5).astype(np.uint8)
