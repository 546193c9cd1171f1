"""DICOM Segmentations, ours and foreign ones, as masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    pixels = _Frames(dataset)
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


class _Frames:
    """Frames of ``(ny, nx)`` uint8 or uint16, unpacked one by one where they are single bits."""

    def __init__(self, dataset: Dataset) -> None:
        try:
            count = int(dataset.get("NumberOfFrames") or 1)
            words = ("Rows", "Columns", "BitsAllocated")
            rows, columns, bits = (int(dataset[w].value) for w in words)
            self._shape = rows, columns
            self._raw: Array | None = None
            if bits == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
                self._raw = np.frombuffer(dataset.PixelData, np.uint8)
                if self._raw.size * 8 < count * rows * columns:
                    raise CorruptFile(
                        f"PixelData has {self._raw.size} bytes for {count} frames of "
                        f"{rows}x{columns} bits"
                    )
            else:
                self._array = np.asarray(dataset.pixel_array).reshape(count, rows, columns)
            self._count = count
        except CorruptFile:
            raise
        except Exception as error:
            raise CorruptFile(f"the segmentation's pixels cannot be decoded: {error}") from error

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(self._count))

    def __getitem__(self, index: int) -> Array:
        if self._raw is None:
            return self._array[index]
        size = self._shape[0] * self._shape[1]
        first, last = index * size, (index + 1) * size
        bits = np.unpackbits(self._raw[first // 8 : -(-last // 8)], bitorder="little")
        return bits[first % 8 : first % 8 + size].reshape(self._shape)


def _shown(dataset: Dataset, frames: int, numbers: Sequence[int]) -> list[int]:
    """The place in ``numbers`` of the segment that each frame shows."""
    result: list[int] = []
    for i in range(frames):
        number = stack.value(dataset, i, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        number = 1 if number is None and len(numbers) == 1 else number
        if number is None or int(number) not in numbers:
            raise CorruptFile(f"frame {i + 1} shows segment {number}, which is not described")
        result.append(numbers.index(int(number)))
    return result


def _planes(
    dataset: Dataset, pixels: _Frames, placed: stack.Stack, described: Sequence[Segment]
) -> Array:
    numbers = [s.number for s in described]
    shown = _shown(dataset, len(pixels), numbers)
    if dataset.get("SegmentationType") == "FRACTIONAL":
        full = np.float32(dataset.get("MaximumFractionalValue") or 255)
        parts = np.zeros((len(numbers), *placed.grid.shape), np.float32)
        for frame, segment, z in zip(pixels, shown, placed.slices, strict=True):
            np.maximum(parts[segment, z], frame / full, out=parts[segment, z])
        return parts
    labels = np.zeros(placed.grid.shape, np.uint8 if max(numbers, default=0) < 256 else np.uint16)
    for frame, segment, z in zip(pixels, shown, placed.slices, strict=True):
        inside = frame.view(bool) if frame.dtype == np.uint8 and frame.max() < 2 else frame != 0
        others = labels[z][inside]
        if others.any() and (others[others != 0] != numbers[segment]).any():
            break
        labels[z][inside] = numbers[segment]
    else:
        return labels
    planes = np.zeros((len(numbers), *placed.grid.shape), bool)
    for frame, segment, z in zip(pixels, shown, placed.slices, strict=True):
        planes[segment, z] |= frame != 0
    return planes


def _labelmap(
    dataset: Dataset, pixels: _Frames, placed: stack.Stack, described: list[Segment]
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
    table = np.zeros(65536, dtype)
    legal = np.zeros(65536, bool)
    legal[[0, *background, *renamed]] = True
    for old, new in renamed.items():
        table[old] = new
    data = np.zeros(placed.grid.shape, dtype)
    for frame, z in zip(pixels, placed.slices, strict=True):
        if not legal[frame].all():
            strange = np.unique(frame[~legal[frame]])[:8].tolist()
            raise CorruptFile(f"the labelmap holds {strange}, which no segment describes")
        data[z] = table[frame]
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
