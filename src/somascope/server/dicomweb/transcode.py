"""Stored instances in the form a client asked for: Explicit VR Little Endian, decoded frames."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from somascope.core.errors import NotFound
from somascope.io.dicom import header, header_bulk, pixels
from somascope.io.dicom.header_bulk import Place
from somascope.io.dicom.header_tables import BIG_ENDIAN, EXPLICIT, GE_PRIVATE
from somascope.io.dicom.pixelformat import PixelFormat

if TYPE_CHECKING:
    from pydicom import Dataset

Array = NDArray[Any]
_ALL_PIXELS = ("7FE00010", "7FE00008", "7FE00009")


def _read(path: Path, *, with_pixels: bool) -> Dataset:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about it was said when it was stored
        return pydicom.dcmread(path, stop_before_pixels=not with_pixels, force=True)


def frame_array(path: Path, number: int) -> tuple[Dataset, Array]:
    """A frame's stored values, ``(ny, nx)`` or RGB ``(ny, nx, 3)``, and its data set."""
    stored = pixels.open_instance(path).frame(number)
    return _read(path, with_pixels=False), stored


def _indexed(instance: pixels.Instance) -> pixels.Instance:
    """The instance, with palette indices as what they are and not as colours."""
    form = instance.form
    if form.photometric != "PALETTE COLOR":
        return instance
    vr = (instance.elements.place("PixelData") or ("OW",))[0]
    return pixels.Instance(
        elements=instance.elements,
        transfer_syntax=instance.transfer_syntax,
        blob=instance.blob,
        form=replace(form, photometric="MONOCHROME2"),
        frames=instance.frames,
        vr=vr,
    )


def _little_endian(frame: Array) -> bytes:
    return np.ascontiguousarray(frame).astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()


def frame_bytes(path: Path, number: int) -> bytes:
    """One frame decoded, as Explicit VR Little Endian holds it; colour as RGB by pixel."""
    return _little_endian(_indexed(pixels.open_instance(path)).frame(number))


def explicit_file(path: Path) -> bytes:
    """The whole instance as a Part 10 file in Explicit VR Little Endian.

    Compressed frames are decoded; YBR becomes RGB, which the Photometric Interpretation then says.
    """
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import UID

    dataset = _read(path, with_pixels=True)
    instance = pixels.open_instance(path)
    native_little = not instance.encapsulated and instance.elements.little
    if instance.has_pixels and not native_little:
        form = instance.form
        instance = _indexed(instance)
        data = b"".join(
            _little_endian(instance.frame(n)) for n in range(1, instance.frames.count + 1)
        )
        _replace_pixels(dataset, form, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.decode()
        dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        out = io.BytesIO()
        dcmwrite(out, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return out.getvalue()


def _replace_pixels(dataset: Dataset, form: PixelFormat, data: bytes) -> None:
    if form.kind != "int":
        keyword = "FloatPixelData" if form.kind == "float" else "DoubleFloatPixelData"
        dataset[keyword].value = data
        return
    if form.samples >= 3:
        dataset.PlanarConfiguration = 0
        if form.photometric.startswith("YBR"):
            dataset.PhotometricInterpretation = "RGB"
    width = form.dtype.itemsize * 8
    if form.allocated != width:
        dataset.BitsAllocated = width
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    del dataset.PixelData
    from pydicom.dataelem import DataElement

    vr = "OB" if width == 8 and len(data) % 2 == 0 else "OW"
    dataset[0x7FE00010] = DataElement(0x7FE00010, vr, data + b"\0" * (len(data) % 2))


def place(path: Path, where: str) -> Place | None:
    """Where the value of a BulkDataURI lies in the file; ``None`` where `bulk` has to make it."""
    found = header_bulk.locate(path, where)
    pixels_wanted = where.strip("/").upper() in _ALL_PIXELS
    if found is not None and pixels_wanted and (found.word > 1 or not _little(path)):
        return None
    return found


def _little(path: Path) -> bool:
    return header.scan(path, wanted={}).transfer_syntax not in (BIG_ENDIAN, GE_PRIVATE)


def bulk(path: Path, where: str) -> bytes:
    """The bytes at a BulkDataURI's path: ``TAG`` or ``TAG/item/TAG``, pixels decoded."""
    if where.strip("/").upper() in _ALL_PIXELS:
        instance = pixels.open_instance(path)
        if not instance.has_pixels:
            raise NotFound("this instance has no pixel data")
        instance = _indexed(instance)
        numbers = range(1, instance.frames.count + 1)
        return b"".join(_little_endian(instance.frame(n)) for n in numbers)
    return header.bulk(path, where)
