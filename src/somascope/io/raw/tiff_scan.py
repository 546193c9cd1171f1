"""A folder of TIFF projections, described by a small file: ``scan.json`` beside the pictures.

There is no standard for what pictures of a scan mean, so nothing is guessed. The file says it::

    {"somascope": "ct.parallel", "projections": "proj_*.tif", "flats": "flat_*.tif",
     "darks": "dark_*.tif", "first_angle_deg": 0, "step_deg": 0.5, "pixel_mm": 0.01}

``angles_deg`` (a list) may stand in the place of ``first_angle_deg`` and ``step_deg``. Names are
patterns within the folder, or one multi-page file; pictures count in the order of their numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError
from somascope.core.grid import Array
from somascope.io.raw.projections import parallel

_KEY = re.compile(rb'^\s*\{[^{}]*"somascope"\s*:\s*"ct\.parallel"', re.DOTALL)


class TiffScanReader:
    """``scan.json`` and its pictures (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether it is JSON that names the scan ``ct.parallel``."""
        return _KEY.match(head) is not None

    def read(self, path: Path) -> list[Acquisition]:
        """The one acquisition that the file describes."""
        return [read(path)]


READER = TiffScanReader()


def read(path: str | Path) -> Acquisition:
    """The acquisition of a folder of pictures; ``path`` is its ``scan.json``.

    Raises
    ------
    CorruptFile
        JSON that is damaged or lacks something, no pictures, pictures of unlike sizes.
    """
    path = Path(path)
    try:
        text: Any = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise CorruptFile(f"{path.name} is not JSON ({error})") from error
    if not isinstance(text, dict) or text.get("somascope") != "ct.parallel":
        raise CorruptFile(f'{path.name} does not say "somascope": "ct.parallel"')
    data = _pictures(text, "projections", path)
    if data is None:
        raise CorruptFile(f"{path.name} names no projections")
    pixel = _number(text, "pixel_mm", path)
    if not pixel > 0:
        raise CorruptFile(f"{path.name}: pixel_mm is {pixel}; give a positive length")
    if "angles_deg" in text:
        try:
            degrees = np.asarray(text["angles_deg"], np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise CorruptFile(f"{path.name}: angles_deg is no list of numbers") from error
    else:
        first = _number(text, "first_angle_deg", path) if "first_angle_deg" in text else 0.0
        degrees = first + _number(text, "step_deg", path) * np.arange(len(data))
    return parallel(
        data, np.deg2rad(degrees), name=path.name, pixel=pixel,
        flat=_pictures(text, "flats", path), dark=_pictures(text, "darks", path),
    )  # fmt: skip


def _number(text: dict[str, Any], key: str, path: Path) -> float:
    value = text.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise CorruptFile(f"{path.name}: {key} is {value!r}; give a number")
    return float(value)


def _order(file: Path) -> tuple[list[int], str]:
    return [int(n) for n in re.findall(r"\d+", file.name)], file.name


def _pictures(text: dict[str, Any], key: str, path: Path) -> Array | None:
    """All pages of all pictures that the pattern names, ``(n, rows, columns)``."""
    pattern = text.get(key)
    if pattern is None:
        return None
    inside = isinstance(pattern, str) and pattern and ".." not in PurePosixPath(pattern).parts
    if not inside or PurePosixPath(pattern).is_absolute() or "\\" in pattern:
        raise CorruptFile(f"{path.name}: {key} is {pattern!r}; name pictures of the same folder")
    folder = path.parent.resolve()
    files = [f for f in sorted(path.parent.glob(pattern), key=_order) if f.is_file()]
    # A link could lead out of the folder that was opened.
    files = [f for f in files if f.resolve().is_relative_to(folder)]
    if not files:
        raise CorruptFile(f"{path.name}: no picture is named {pattern!r} ({key})")
    from somascope.io import tiff

    pages: list[Array] = []
    for file in files:
        try:
            planes = [i.data for i in tiff.read(file)]
        except (ReadError, OSError) as error:
            raise CorruptFile(f"{file.name} ({key}) cannot be read: {error}") from error
        for plane in planes:
            if plane.ndim > 4 or (plane.ndim == 4 and plane.shape[0] == 3):
                raise CorruptFile(f"{file.name} ({key}) is a colour picture; detectors are gray")
            pages += list(plane.reshape(-1, *plane.shape[-2:]))
    sizes = {p.shape for p in pages}
    if len(sizes) > 1:
        raise CorruptFile(
            f"{path.name}: the {key} have unlike sizes ({', '.join(map(str, sorted(sizes)))}); "
            "one scan has one detector"
        )
    return np.stack(pages)
