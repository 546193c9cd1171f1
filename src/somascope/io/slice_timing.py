"""When each slice of a volume was acquired: what BIDS calls ``SliceTiming``.

Known for Siemens mosaics, whose private header lists a time per tile (``MosaicRefAcqTimes``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from somascope.core.errors import ReadError
from somascope.core.image import Image


class SliceTimes:
    """Looks up acquisition times in the files that images were read from."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = list(files)
        self._by_uid: dict[str, Path] | None = None

    def of(self, image: Image) -> list[float] | None:
        """Seconds after the first, one per slice in the order of z; None where not known."""
        if "MOSAIC" not in (image.attributes.get("ImageType") or ()):
            return None
        for source in image.provenance.sources:
            for uid in source.uids[:1]:
                path = self._paths().get(uid)
                if path is not None:
                    return _mosaic(image, path)
        return None

    def _paths(self) -> dict[str, Path]:
        from somascope.io.dicom import header

        if self._by_uid is None:
            self._by_uid = {}
            for file in self._files:
                try:
                    self._by_uid[header.scan(file).sop_uid] = file
                except (ReadError, OSError):
                    continue
        return self._by_uid


def _mosaic(image: Image, path: Path) -> list[float] | None:
    from somascope.io.dicom.mosaic import image_header
    from somascope.io.dicom.pixels import open_instance
    from somascope.io.dicom.slices import slices_of

    instance = open_instance(path)
    nz = image.grid.shape[0]
    try:
        times = [float(v) for v in image_header(instance.elements).get("MosaicRefAcqTimes", ())]
        slices = slices_of(instance)
    except (ReadError, ValueError):
        return None
    # The list is padded with zeros to a fixed length; tiles follow the slice axis either way.
    if len(times) < nz or len(slices) != nz or not all(map(math.isfinite, times)):
        return None
    result = [0.0] * nz
    for tile, time in zip(slices, times, strict=False):
        if tile.position is None:
            return None
        at = int(np.rint(image.grid.to_index(tile.position)[0]))
        if not 0 <= at < nz:
            return None
        result[at] = time
    first = min(result)
    return [round((t - first) / 1000, 6) for t in result] if max(result) > first else None
