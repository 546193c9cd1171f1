"""`Slice`: one plane of pixels that knows where it is, when, and what its values mean.

Classic instances, frames of multi-frame objects and tiles of a mosaic all become slices; volumes
are then built from slices alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.io.dicom import regions
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.pixels import Instance
from somascope.io.dicom.rescale import Rescale, mapped, rescale

MOST_MM = 1e5
"""A pixel or a slice that is larger is an error of the header."""

Vector = tuple[float, float, float]


@dataclass(slots=True, eq=False)
class Slice:
    """One plane of an instance."""

    instance: Instance
    frame: int
    """Its frame, from 1."""
    position: Vector | None
    """Centre of the first pixel, LPS mm."""
    orientation: tuple[float, ...] | None
    """Unit vectors along a row and along a column, LPS."""
    spacing: tuple[float, float]
    """Rows apart, columns apart, mm."""
    thickness: float
    """Distance to the next slice as the header has it, mm; 0 where unknown."""
    rescale: Rescale
    kind: tuple[Any, ...] = ()
    """What slices of one volume have in common beside their geometry."""
    labels: dict[str, float] = field(default_factory=dict[str, float])
    """Values that may be a leading axis: ``echo``, ``b`` ... equal over a volume."""
    times: dict[str, float] = field(default_factory=dict[str, float])
    """Values that order repeats of one position and may differ over a volume."""
    tile: tuple[int, int, int, int] | None = None
    """First row and column, rows and columns within the frame (mosaics)."""
    groups: tuple[Elements, ...] = ()
    """Functional group items that hold further facts."""
    flat: str = ""
    """The leading axis along which frames without a position are stacked."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        if self.tile is not None:
            return self.tile[2], self.tile[3]
        return self.instance.form.rows, self.instance.form.columns

    @property
    def uid(self) -> str:
        """SOP Instance UID."""
        return self.instance.elements.text("SOPInstanceUID")


def vector(elements: Elements, keyword: str, count: int) -> tuple[float, ...] | None:
    """Numbers of a fixed count, ``None`` where absent; refuses what is not finite."""
    values = elements.numbers(keyword)
    if not values:
        return None
    if len(values) < count or not all(abs(v) <= 1e9 for v in values):
        raise CorruptFile(f"{elements.name}: {keyword} is {values}; it should be {count} numbers")
    return tuple(values[:count])


def distance(elements: Elements) -> float:
    """Slice distance or thickness in mm, 0 where unknown."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = elements.number(keyword)
        if value is not None and 1e-6 < abs(value) < MOST_MM:
            return value
    return 0.0


def directions(values: tuple[float, ...] | None, name: str) -> tuple[float, ...] | None:
    """Image Orientation (Patient), made exactly of unit vectors; refuses one that is none."""
    if values is None:
        return None
    a, b = values[:3], values[3:]
    la, lb = sum(v * v for v in a) ** 0.5, sum(v * v for v in b) ** 0.5
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    if la < 1e-6 and lb < 1e-6:
        return None  # zeros stand for "not known" with some devices
    if abs(la - 1) > 0.01 or abs(lb - 1) > 0.01 or abs(dot) > 0.01:
        raise CorruptFile(
            f"{name}: ImageOrientationPatient is {values}; it should be two unit vectors at "
            "right angles"
        )
    return (*(v / la for v in a), *(v / lb for v in b))


def pixel_spacing(elements: Elements) -> tuple[float, float] | None:
    """Rows apart and columns apart in mm from the first attribute that says it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = elements.numbers(keyword)
        if len(values) >= 2 and all(1e-6 < v < MOST_MM for v in values[:2]):
            return float(values[0]), float(values[1])
    region = regions.calibrated(elements)
    return (region[1][1], region[1][0]) if region is not None else None


def image_kind(values: tuple[str, ...]) -> tuple[str, ...]:
    """Image Type without ORIGINAL/DERIVED, PRIMARY/SECONDARY and mere processing marks."""
    return tuple(v for v in values[2:] if v not in ("ND", "NORM", "DIS2D", "DIS3D", "FM", "FIL"))


def clock(text: str) -> float | None:
    """Seconds since midnight of a TM value, or of the time in a DT value."""
    text = text.strip().replace(":", "")
    whole, _, fraction = text.partition(".")
    if len(whole) >= 14:
        whole = whole[8:]
    if len(whole) < 4 or not whole.isdigit():
        return None
    seconds = (
        int(whole[:2]) * 3600 + int(whole[2:4]) * 60 + (int(whole[4:6]) if len(whole) >= 6 else 0)
    )
    part = "".join(c for c in fraction[:6] if c.isdigit())
    return seconds + (float("0." + part) if part else 0.0)


def b_value(elements: Elements) -> tuple[float, Vector] | None:
    """The b-value in s/mm2 and the gradient direction, standard or vendors' own."""
    b = elements.number("DiffusionBValue")
    if b is not None:
        g = elements.numbers("DiffusionGradientOrientation")
        return b, (g[0], g[1], g[2]) if len(g) >= 3 else (0.0, 0.0, 0.0)
    if elements.text(0x00190010).startswith("SIEMENS MR HEADER"):
        b = elements.number(0x0019100C, vr="IS")
        if b is not None:
            g = elements.numbers(0x0019100E, "FD")
            return b, (g[0], g[1], g[2]) if len(g) >= 3 else (0.0, 0.0, 0.0)
    if elements.text(0x00430010).startswith("GEMS_PARM"):
        values = elements.numbers(0x00431039, "IS") if 0x00431039 in elements else ()
        if values and values[0] >= 0:
            g = tuple(
                elements.number(t, vr="DS") or 0.0 for t in (0x001910BB, 0x001910BC, 0x001910BD)
            )
            return float(values[0]) % 1e8, (g[0], g[1], g[2])
    if elements.text(0x20010010).startswith("Philips Imaging") and 0x20011003 in elements:
        b = elements.number(0x20011003, vr="FL")
        if b is not None:
            g = tuple(
                elements.number(t, vr="FL") or 0.0 for t in (0x200510B0, 0x200510B1, 0x200510B2)
            )
            return b, (g[0], g[1], g[2])
    return None


_MR_LABELS = (("echo", "EchoTime"), ("ti", "InversionTime"), ("flip", "FlipAngle"))
_TIMES = (
    ("offset", "TemporalPositionTimeOffset"),
    ("temporal", "TemporalPositionIdentifier"), ("reference", "FrameReferenceTime"),
    ("trigger", "TriggerTime"), ("acquisition", "AcquisitionNumber"), ("number", "InstanceNumber"),
)  # fmt: skip
_CLOCKS = (
    ("acquired", "AcquisitionDateTime"),
    ("acquired", "AcquisitionTime"),
    ("content", "ContentTime"),
)


def classic(instance: Instance) -> Slice:
    """The slice of a single-frame instance."""
    e, form = instance.elements, instance.form
    modality = e.text("Modality", "OT")
    spacing = pixel_spacing(e) or (1.0, 1.0)
    orientation = directions(vector(e, "ImageOrientationPatient", 6), e.name)
    position = vector(e, "ImagePositionPatient", 3)
    if position is None and modality == "US":
        position = regions.origin(e, orientation)
    labels: dict[str, float] = {}
    if modality == "MR":
        for name, keyword in _MR_LABELS:
            value = e.number(keyword)
            if value is not None:
                labels[name] = value
        diffusion = b_value(e)
        if diffusion is not None:
            labels["b"] = diffusion[0]
            labels["gx"], labels["gy"], labels["gz"] = diffusion[1]
    elif modality == "CT":
        kvp = e.number("KVP")
        if kvp is not None:
            labels["kvp"] = kvp
    return Slice(
        instance, 1, position, orientation, spacing,  # type: ignore[arg-type]
        distance(e),
        mapped(e, modality=modality)
        or rescale(e, modality=modality, top=e, signed=form.signed),
        (image_kind(e.strings("ImageType")), e.text("FrameOfReferenceUID")), labels, times(e),
    )  # fmt: skip


def times(e: Elements) -> dict[str, float]:
    """Everything that may order repeats of a slice position, in the order of trust."""
    found: dict[str, float] = {}
    for name, keyword in _TIMES:
        value = e.number(keyword)
        if value is not None:
            found[name] = value
    for name, keyword in _CLOCKS:
        seconds = clock(e.text(keyword))
        if seconds is not None and name not in found:
            found[name] = seconds
    return found


def slices_of(instance: Instance) -> list[Slice]:
    """All slices of an instance.

    Raises
    ------
    CorruptFile, UnsupportedFormat
    """
    e = instance.elements
    sop = e.text("SOPClassUID")
    if sop.startswith(("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")):
        raise UnsupportedFormat(
            f"{e.name}: is a segmentation; it is read as a mask, not as an image"
        )
    if sop == "1.2.840.10008.5.1.4.1.1.77.1.6":
        raise UnsupportedFormat(
            f"{e.name}: is a whole slide image of tiles; slides are not read as volumes"
        )
    form = instance.form  # says what has no pixels
    if "SharedFunctionalGroupsSequence" in e or "PerFrameFunctionalGroupsSequence" in e:
        from somascope.io.dicom.multiframe import enhanced

        return enhanced(instance)
    from somascope.io.dicom.mosaic import is_mosaic, tiles

    if is_mosaic(e):
        return tiles(instance)
    if form.frames > 1 or "NumberOfFrames" in e:
        from somascope.io.dicom.legacy import legacy

        return legacy(instance)
    return [classic(instance)]
