"""A builder of small DICOM instances, so that every header says exactly what a test needs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

YOUNG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))
"""JPEG XL, which pydicom 3.0 does not know."""


def instance(
    pixels: Any,
    *,
    syntax: str = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    **facts: Any,
) -> bytes:
    """Part 10 bytes of ``pixels`` ``(ny, nx)``, ``(n, ny, nx)`` or with a last axis of 3."""
    pixels = np.asarray(pixels)
    colour = pixels.shape[-1] == 3 and pixels.ndim > 2
    plane = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    count = int(np.prod(pixels.shape[: pixels.ndim - len(plane) - colour], dtype=int))
    d = Dataset()
    d.SOPClassUID = facts.pop("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")
    d.SOPInstanceUID = facts.pop("SOPInstanceUID", generate_uid())
    d.SeriesInstanceUID = "1.2.3.4"
    d.Modality = "OT"
    d.Rows, d.Columns = plane
    if pixels.ndim - colour > 2:
        d.NumberOfFrames = count
    d.SamplesPerPixel = 3 if colour else 1
    d.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        d.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    d.BitsAllocated = d.BitsStored = bits
    d.HighBit = bits - 1
    d.PixelRepresentation = int(pixels.dtype.kind == "i")
    extra = {k: facts.pop(k) for k in list(facts) if k.startswith("tag_")}
    for keyword, value in facts.items():
        setattr(d, keyword, value)
    for name, (vr, value) in extra.items():
        d.add_new(int(name[4:], 16), vr, value)
    young = syntax in YOUNG
    uid = UID("1.2.840.10008.1.2.4.201" if young else syntax)
    raw = pixels.astype(pixels.dtype.newbyteorder("<" if uid.is_little_endian else ">")).tobytes()
    raw = facts.get("PixelData", raw)
    if frames is not None:
        d.PixelData = encapsulate(frames)
        d["PixelData"].VR = "OB"
        d["PixelData"].is_undefined_length = True
    elif pixels.dtype.kind == "f":
        setattr(d, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", raw)
        d.pop("PixelData", None)
    else:
        d.PixelData = raw + b"\0" * (len(raw) % 2)
        d["PixelData"].VR = "OW" if bits > 8 else "OB"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid
    meta.MediaStorageSOPClassUID = d.SOPClassUID
    meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.file_meta = meta
    out = io.BytesIO()
    d.save_as(out, enforce_file_format=True)
    written = out.getvalue()
    return written.replace(uid.encode(), syntax.encode(), 1) if young else written


@pytest.fixture(scope="session")
def dicom():
    """Make Part 10 bytes: ``dicom(pixels, syntax=..., frames=[...], Keyword=value)``."""
    return instance
