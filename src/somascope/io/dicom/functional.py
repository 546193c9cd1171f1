"""Enhanced multi-frame objects: functional groups and dimensions (PS3.3 C.7.6.16, C.7.6.17)."""

from __future__ import annotations

from somascope.core.errors import WriteError
from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom.compose import Series
from somascope.io.dicom.iods import Kind
from somascope.io.dicom.plane import Planes
from somascope.io.dicom.quantise import Stored


def image_instance(
    image: Image, stored: Stored, frames: Array, series: Series, kind: Kind, place: Planes
) -> bytes:
    raise WriteError("enhanced multi-frame comes next")
