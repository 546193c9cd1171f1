"""DICOM Segmentations, ours and foreign ones, as masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.finding import Mask, Segment
from somascope.core.grid import Array
from somascope.core.provenance import Provenance, Source
from somascope.io.dicom import iods, segments, stack
from somascope.io.dicom.carry import facts

_BACKGROUND = "125040"


def read(source: bytes | memoryview | Path | Dataset) -> Mask:
    """The mask in a Segmentation of any kind: binary, fractional or labelmap.

    The grid comes from the functional groups; slices that have no frame are empty. Segments that
    do not overlap become a labelmap ``(nz, ny, nx)``, overlapping ones boolean planes
    ``(ns, nz, ny, nx)``, fractional ones float32 planes in [0, 1].

    Raises
    ------
    UnsupportedFormat
        Not a segmentation, or one of a tiled slide.
    CorruptFile
        Frames, segments and pixels that do not fit together.
    GeometryError
        Frames that are no regular volume.
    """
    dataset = _open(source)
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in (iods.SEGMENTATION.sop_class, iods.LABELMAP.sop_class):
        raise UnsupportedFormat(f"SOP class {sop_class!r} is not a segmentation")
    if "TotalPixelMatrixColumns" in dataset:
        raise UnsupportedFormat("segmentations of tiled slides are not read as volumes")
    pixels = _pixels(dataset)
    described = [segments.parse(s) for s in dataset.get("SegmentSequence") or []]
    placed = stack.assemble(dataset, frames=len(pixels))
    if dataset.get("SegmentationType") == "LABELMAP" or sop_class == iods.LABELMAP.sop_class:
        data, described = _labelmap(dataset, pixels, placed, described)
    else:
        data = _planes(dataset, pixels, placed, described)
    series, uid = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
    return Mask(
        data=data,
        grid=placed.grid,
        segments=tuple(described),
        on=_referenced(dataset),
        provenance=Provenance(sources=(Source("dicom", series, (uid,)),)),
        attributes={**facts(dataset), "SeriesInstanceUID": series, "SOPClassUID": sop_class},
    )


def _open(source: bytes | memoryview | Path | Dataset) -> Dataset:
    if isinstance(source, Dataset):
        return source
    name = source.name if isinstance(source, Path) else "the bytes"
    try:
        return dcmread(source if isinstance(source, Path) else BytesIO(bytes(source)))
    except Exception as error:
        raise ReadError(f"{name} cannot be read as DICOM: {error}") from error


def _pixels(dataset: Dataset) -> Array:
    """Frames ``(n, ny, nx)`` of uint8 or uint16."""
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns, bits = (int(dataset[w].value) for w in ("Rows", "Columns", "BitsAllocated"))
        if bits == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            raw = np.frombuffer(dataset.PixelData, np.uint8)
            count = frames * rows * columns
            if raw.size * 8 < count:
                raise CorruptFile(
                    f"PixelData has {raw.size} bytes for {frames} frames of {rows}x{columns} bits"
                )
            return np.unpackbits(raw, bitorder="little", count=count).reshape(frames, rows, columns)
        return np.asarray(dataset.pixel_array).reshape(frames, rows, columns)
    except CorruptFile:
        raise
    except Exception as error:
        raise CorruptFile(f"the segmentation's pixels cannot be decoded: {error}") from error


def _planes(
    dataset: Dataset, pixels: Array, placed: stack.Stack, described: Sequence[Segment]
) -> Array:
    numbers = [s.number for s in described]
    fractional = dataset.get("SegmentationType") == "FRACTIONAL"
    full = float(dataset.get("MaximumFractionalValue") or 255)
    shape = (len(numbers), *placed.grid.shape)
    planes = np.zeros(shape, np.float32 if fractional else bool)
    for i, frame in enumerate(pixels):
        number = stack.value(dataset, i, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        number = 1 if number is None and len(numbers) == 1 else number
        if number is None or int(number) not in numbers:
            raise CorruptFile(f"frame {i + 1} shows segment {number}, which is not described")
        target = planes[numbers.index(int(number)), placed.slices[i]]
        if fractional:
            np.maximum(target, frame / np.float32(full), out=target)
        else:
            np.logical_or(target, frame != 0, out=target)
    if fractional:
        return planes
    total = np.zeros(placed.grid.shape, np.uint16)
    for plane in planes:
        total += plane
    if total.max(initial=0) > 1:
        return planes
    labels = np.zeros(placed.grid.shape, np.uint8 if max(numbers, default=0) < 256 else np.uint16)
    for number, plane in zip(numbers, planes, strict=True):
        labels[plane] = number
    return labels


def _labelmap(
    dataset: Dataset, pixels: Array, placed: stack.Stack, described: list[Segment]
) -> tuple[Array, list[Segment]]:
    """Labels with 0 as background, whatever number the object uses for it."""
    padding = dataset.get("PixelPaddingValue")
    background = {s.number for s in described if s.concept.value == _BACKGROUND}
    if padding is not None:
        background.add(int(padding))
    kept = [s for s in described if s.number not in background]
    highest = max((s.number for s in described), default=0)
    renamed = {s.number: s.number or highest + 1 for s in kept}
    dtype = np.uint8 if max(renamed.values(), default=0) < 256 else np.uint16
    table = np.zeros(int(pixels.max(initial=0)) + 1, dtype)
    for old, new in renamed.items():
        if old < len(table):
            table[old] = new
    unknown = set(np.unique(pixels).tolist()) - set(renamed) - background - {0}
    if unknown:
        raise CorruptFile(f"the labelmap holds {sorted(unknown)[:8]}, which no segment describes")
    data = np.zeros(placed.grid.shape, dtype)
    for i, frame in enumerate(pixels):
        data[placed.slices[i]] = table[frame]
    return data, [replace(s, number=renamed[s.number]) for s in kept]


def _referenced(dataset: Dataset) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for series in dataset.get("ReferencedSeriesSequence") or []:
        for item in series.get("ReferencedInstanceSequence") or []:
            found[str(item.get("ReferencedSOPInstanceUID"))] = None
    if not found:
        for i in range(len(dataset.get("PerFrameFunctionalGroupsSequence") or [])):
            derived = stack.item(dataset, i, "DerivationImageSequence")
            for item in (derived.get("SourceImageSequence") or []) if derived else []:
                found[str(item.get("ReferencedSOPInstanceUID"))] = None
    return tuple(found)
