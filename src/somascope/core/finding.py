"""`Finding`: what was seen, on what, how sure, and by whom.

``on`` are the SOP Instance UIDs (or one series UID) it was seen on; ``attributes`` patient and
study facts under their DICOM keywords, carried from there, which are no part of the finding:
equality leaves them out. ``tracking`` says which lesion it is in every examination; who follows
it is no part of the finding either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float, Grid
from somascope.core.provenance import Provenance

if TYPE_CHECKING:
    from somascope.core.image import Image

Moved = TypeVar("Moved", "Image", "Mask")


@dataclass(frozen=True)
class Code:
    """A coded concept: value, coding scheme designator (``SCT`` for SNOMED CT), meaning."""

    value: str
    scheme: str
    meaning: str


TISSUE = Code("85756007", "SCT", "Tissue")
"""What a mask shows when nothing more is known."""


@dataclass(frozen=True)
class Tracking:
    """What stays the same from one examination to the next: the UID and name of one lesion.

    DICOM's Tracking Unique Identifier and Tracking Identifier (PS3.16 TID 1501, PS3.3 C.8.20.4).
    """

    uid: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A class for a whole image or study, or of what ``tracking`` names; ``text`` says why."""

    concept: Code
    confidence: float
    on: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict[str, float])
    text: str = ""
    tracking: Tracking | None = field(default=None, compare=False)
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)


@dataclass(frozen=True, kw_only=True)
class Box:
    """An upright box of voxels ``lower <= index <= upper`` (z, y, x; edges inclusive) on a grid."""

    concept: Code
    confidence: float
    grid: Grid
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    on: tuple[str, ...] = ()
    tracking: Tracking | None = field(default=None, compare=False)
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)


@dataclass(frozen=True)
class Segment:
    """One label of a `Mask`: its number in the array, name, code, and who drew it."""

    number: int
    label: str
    concept: Code = TISSUE
    algorithm: str = ""
    colour: tuple[int, int, int] = (255, 190, 60)
    confidence: float = 1.0
    tracking: Tracking | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """Voxels that belong to named segments.

    Parameters
    ----------
    data
        Either a labelmap ``(nz, ny, nx)`` of unsigned integers holding segment numbers (0 is
        background), or one plane per segment ``(ns, nz, ny, nx)``: bool where segments may
        overlap, float32 in [0, 1] for a fractional (probability) mask.
    grid
        Where the last three axes are.
    segments
        One per label; in plane form in the order of the first axis.
    on
        SOP Instance UIDs (or one series UID) it was seen on.
    attributes
        Patient and study facts under their DICOM keywords, carried from the image it was seen on.
    """

    data: Array
    grid: Grid
    segments: tuple[Segment, ...]
    on: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        planes = data.ndim == 4
        if data.shape[-3:] != self.grid.shape or data.ndim not in (3, 4):
            raise GeometryError(
                f"Mask.data has shape {data.shape} for a grid of {self.grid.shape}; give a "
                "labelmap (nz, ny, nx) or planes (ns, nz, ny, nx)"
            )
        if planes and data.shape[0] != len(self.segments):
            raise GeometryError(
                f"Mask.data has {data.shape[0]} planes for {len(self.segments)} segments; "
                "give one plane per segment"
            )
        if planes and data.dtype.kind not in "bf":
            raise GeometryError(f"Mask planes have dtype {data.dtype}; give bool or float32")
        if not planes and data.dtype.kind != "u":
            raise GeometryError(f"Mask labelmap has dtype {data.dtype}; give uint8 or uint16")
        view = data.view()
        view.setflags(write=False)
        object.__setattr__(self, "data", view)

    @property
    def fractional(self) -> bool:
        """Whether the planes hold probabilities."""
        return self.data.dtype.kind == "f"

    def plane(self, number: int) -> Array:
        """The voxels of one segment, bool or float32, shape ``(nz, ny, nx)``."""
        if self.data.ndim == 3:
            return self.data == number
        return self.data[[s.number for s in self.segments].index(number)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """Maps points of the fixed frame to the moving frame, in LPS mm.

    ``moving = matrix @ fixed + displacement(fixed)``; ``displacement`` has shape
    ``(3, nz, ny, nx)`` (L, P, S components in mm) on ``grid``, or is ``None`` for an affine warp.
    """

    matrix: Float
    grid: Grid | None = None
    displacement: Array | None = None
    fixed_frame: str = ""
    moving_frame: str = ""
    confidence: float = 1.0
    on: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)

    def apply(self, image: Moved, *, like: Image, label: bool = False) -> Moved:
        """``image`` or mask of the moving frame on the grid of ``like``, of the fixed frame.

        The operation ``analyze.transform``; ``label`` takes the nearest value and invents none.
        """
        from somascope.core.registry import get_operation

        result: Moved = get_operation("analyze.transform")(image, self, like, label=label)
        return result


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A number with a unit (UCUM), and its standard uncertainty where known.

    ``time_point``: of which examination it is, where the report is of several (a date as
    ``YYYYMMDD``, or words); ``tracking``: of which lesion.
    """

    concept: Code
    value: float
    unit: str
    uncertainty: float | None = None
    confidence: float = 1.0
    on: tuple[str, ...] = ()
    time_point: str = ""
    tracking: Tracking | None = field(default=None, compare=False)
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)


Finding: TypeAlias = Label | Box | Mask | Warp | Measurement
