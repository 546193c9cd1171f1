"""The values of a file or folder part by part, for what must not be in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from somascope.core.errors import ReadError
from somascope.core.grid import Array

_NIFTI = (".nii", ".nii.gz")


def parts(path: str | Path) -> Iterator[Array]:
    """Arrays of values in real units; together they are all values of ``path``, in no set order.

    NIfTI: a slice at a time. A folder of DICOM: an instance at a time. Every other format is read
    whole and given as one part.

    Raises
    ------
    ReadError
        As `somascope.io.read`; a folder from which no instance can be read.
    """
    path = Path(path)
    if path.name.lower().endswith(_NIFTI):
        yield from _nifti(path)
    elif path.is_dir():
        yield from _instances(path)
    else:
        from somascope.io.read import read

        found = read(path)
        for image in found if isinstance(found, list) else [found]:
            yield image.data


def _nifti(path: Path) -> Iterator[Array]:
    import nibabel as nib

    try:
        stored = nib.load(path).dataobj  # pyright: ignore[reportAttributeAccessIssue]
        shape = stored.shape
        for index in np.ndindex(*shape[3:] or (1,)):
            for z in range(shape[2] if len(shape) > 2 else 1):
                key = (slice(None), slice(None), z, *index)[: len(shape)]
                yield np.asarray(stored[key])
    except (OSError, ValueError, EOFError) as error:
        raise ReadError(f"{path.name}: cannot be read in parts: {error}") from error


def _instances(folder: Path) -> Iterator[Array]:
    from somascope.io.dicom.series import volumes

    reasons: list[str] = []
    any_ = False
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        images, problems = volumes([path])
        reasons += [p.reason for p in problems]
        for image in images:
            any_ = True
            yield image.data
    if not any_:
        said = "; ".join(reasons[:3]) or "no files"
        raise ReadError(f"no image in {folder}: {said}")
