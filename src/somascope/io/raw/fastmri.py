"""The HDF5 files of the fastMRI data set: Cartesian k-space of knees and brains.

Source: Zbontar et al. 2018, arXiv:1811.08839. ``kspace`` is ``(slices, [coils,] readout, phase)``;
test files hold the sampled columns in ``mask``. The files keep no directions: the grid is an axial
stack at the origin with the true spacing, and ``ImageComments`` says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.grid import Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator
from somascope.io.raw import ismrmrd_header

_MAGIC = b"\x89HDF\r\n\x1a\n"
_WIDEST = 1100
"""No deflate stream grows further than this; a data set that claims more is a bomb."""


class FastMriReader:
    """fastMRI HDF5 files (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with ``kspace`` and ``ismrmrd_header``."""
        if not head.startswith(_MAGIC):
            return False
        try:
            with h5py.File(path, "r") as file:
                return {"kspace", "ismrmrd_header"} <= set(file)
        except (OSError, RuntimeError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """The one acquisition in the file."""
        return [read(path)]


READER = FastMriReader()


def read(path: str | Path) -> Acquisition:
    """The acquisition in a fastMRI file, phase encoding along y and readout along x.

    Raises
    ------
    CorruptFile
        Damaged, truncated, or with a mask of another size.
    UnsupportedFormat
        HDF5 of another kind.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            return _parse(file, path)
    except ReadError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path.name} is damaged or truncated: {error}") from error


def _parse(file: Any, path: Path) -> Acquisition:
    name = path.name
    for key in ("kspace", "ismrmrd_header"):
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):
            raise UnsupportedFormat(f"{name} is HDF5 without {key!r}; fastMRI files have it")
    table = file["kspace"]
    if table.ndim not in (3, 4) or table.dtype.kind != "c" or table.size == 0:
        raise CorruptFile(
            f"{name}: kspace has shape {table.shape} and dtype {table.dtype}; it must be complex "
            "(slices, [coils,] readout, phase)"
        )
    if table.size * table.dtype.itemsize > _WIDEST * max(path.stat().st_size, 1):
        raise CorruptFile(f"{name}: kspace claims {table.shape}, more than the file can hold")
    header = ismrmrd_header.Header(file["ismrmrd_header"][()], name)
    kspace = np.asarray(table[:], np.complex64)
    if kspace.ndim == 3:
        kspace = kspace[:, None]
    kspace = np.ascontiguousarray(kspace.transpose(1, 0, 3, 2))
    coils, slices, lines, columns = kspace.shape
    mask = None
    if "mask" in file:
        kept = np.asarray(file["mask"][:]).astype(bool).reshape(-1)
        if len(kept) != lines:
            raise CorruptFile(f"{name}: its mask has {len(kept)} entries for {lines} columns")
        mask = kept[:, None]
    else:
        measured = np.flatnonzero(np.abs(kspace).max(axis=(0, 1, 3)))
        if len(measured) < lines:
            mask = np.isin(np.arange(lines), measured)[:, None]
    encoding = ismrmrd_header.encoding(header, name, columns=columns, repetitions=1)
    step = [f / n for f, n in zip(encoding.field_mm, encoding.matrix, strict=True)]
    # The files keep fewer phase encodings than the matrix is wide; their spacing is the field's.
    dy = encoding.field_mm[1] / lines
    wide = header.number("encoding/reconSpace/fieldOfView_mm/x")
    tall = header.number("encoding/reconSpace/fieldOfView_mm/y")
    shape = (
        slices,
        min(max(round(tall / dy), 1), lines),
        min(max(round(wide / step[2]), 1), columns),
    )
    dz = encoding.thickness
    origin = [-(n // 2) * d for n, d in zip(shape[::-1], (step[2], dy, dz), strict=True)]
    grid = Grid.from_spacing(shape, (dz, dy, step[2]), origin=origin)
    operator = build_operator(
        "mri.cartesian",
        {
            "grid": grid,
            "coils": coils,
            "mask": mask,
            "matrix": (slices, lines, columns),
            "dimensions": 2,
        },
    )
    facts = ismrmrd_header.facts(header)
    facts["ImageComments"] = "Orientation unknown: fastMRI files keep no directions"
    if patient := file.attrs.get("patient_id"):
        facts.setdefault("PatientID", str(patient)[:64])
    if kind := file.attrs.get("acquisition"):
        facts.setdefault("SeriesDescription", str(kind)[:64])
    return Acquisition(
        kspace, operator, "MR", provenance=Provenance((Source("raw", name),)), attributes=facts
    )
