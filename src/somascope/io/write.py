"""`write`: an Image, a Mask or findings into a file, the format chosen by the suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from somascope.core.acquisition import Acquisition
from somascope.core.errors import WriteError
from somascope.core.finding import Box, Label, Mask, Measurement, Warp
from somascope.core.image import Image
from somascope.io.atomic import replacing

Finding: TypeAlias = Label | Box | Measurement

_FORMATS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".png": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".tif": "raster",
    ".tiff": "raster",
}


def suffix_of(path: str | Path) -> str:
    """The suffix that decides the format, lower case, ``.nii.gz`` in one; ``""`` for a folder."""
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".nii.gz"):
        return ".nii.gz"
    return "" if path.is_dir() else path.suffix.lower()


def known(path: str | Path) -> bool:
    """Whether the suffix of ``path`` names a file format that is written here."""
    return suffix_of(path) in (*_FORMATS, ".dcm", ".h5", ".json", ".csv")


def write(
    image: Image | Mask | Acquisition | Warp | Finding | Sequence[Finding], path: str | Path
) -> None:
    """Write ``image`` to ``path``.

    ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha`` and ``.mhd`` keep values, dtype and
    place. ``.png`` and ``.jpg`` hold one 8-bit (PNG also 16-bit) plane and no place, ``.tif``
    stacks and their spacing. A folder, or a path without suffix, becomes a DICOM series of one
    file per instance; ``.dcm`` one DICOM file. A file is replaced as a whole or not at all; a
    folder with DICOM files that are not overwritten is refused. An acquisition becomes ``.h5``,
    ``.dcm`` or a folder with one Raw Data instance. Findings, one or several, become a structured
    report (``.dcm`` or a folder), or ``.json`` or ``.csv`` for other programs.

    Raises
    ------
    WriteError
        The suffix is unknown, or the format cannot hold this image; the message says what can.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if isinstance(image, Warp):
        from somascope.io.transforms import write_warp

        write_warp(image, path)
        return
    if suffix in ("", ".dcm"):
        _dicom(image, path, single=suffix == ".dcm")
        return
    if isinstance(image, (Label, Box, Measurement, Sequence)):
        _findings(image, path, suffix)
        return
    if isinstance(image, Acquisition) or suffix == ".h5":
        if not isinstance(image, Acquisition) or suffix != ".h5":
            raise WriteError(
                f"{path.name}: {suffix} cannot hold {type(image).__name__}; raw acquisitions go to "
                ".h5, .dcm or a folder, images to any other format"
            )
        from somascope.io.acquisition import write as write_raw

        write_raw(image, path)
        return
    kind = _FORMATS.get(suffix)
    if kind is None:
        raise WriteError(
            f"{path.name}: the suffix {suffix!r} names no format written here; use one of "
            f"{', '.join(_FORMATS)}, .dcm, or a folder for a DICOM series"
        )
    if kind == "nifti":
        from somascope.io import nifti_write as module
    elif kind == "nrrd":
        from somascope.io import nrrd_write as module
    elif kind == "metaimage":
        from somascope.io import metaimage as module
    else:
        from somascope.io import raster as module
    module.write(image, path)


def _findings(findings: Finding | Sequence[Finding], path: Path, suffix: str) -> None:
    from somascope.io.findings import to_csv, to_json

    if suffix not in (".json", ".csv"):
        raise WriteError(
            f"{path.name}: {suffix} cannot hold findings; they go to .dcm or a folder (a "
            "structured report), or to .json or .csv"
        )
    listed = findings if isinstance(findings, Sequence) else [findings]
    with replacing(path) as file:
        file.write((to_csv if suffix == ".csv" else to_json)(listed).encode())


def _dicom(
    image: Image | Mask | Acquisition | Finding | Sequence[Finding], path: Path, *, single: bool
) -> None:
    if isinstance(image, (Label, Box, Measurement, Sequence)):
        from somascope.io.dicom.sr import instances
    elif isinstance(image, Acquisition):
        from somascope.io.dicom.raw import instances
    elif isinstance(image, Mask):
        from somascope.io.dicom.seg import instances
    else:
        from somascope.io.dicom.write import instances
    parts = list(instances(image))  # pyright: ignore[reportArgumentType]
    if single:
        if len(parts) != 1:
            raise WriteError(
                f"{path.name}: this is {len(parts)} DICOM instances; give a folder "
                "(a path without suffix)"
            )
        with replacing(path) as file:
            file.write(parts[0])
        return
    names = [f"{number:06d}.dcm" for number in range(1, len(parts) + 1)]
    others = {p.name for p in path.glob("*.dcm")} - set(names)
    if others:
        raise WriteError(
            f"{path} holds other DICOM files ({', '.join(sorted(others)[:3])}) which would mix "
            "with this series; give an empty folder"
        )
    for name, part in zip(names, parts, strict=True):
        with replacing(path / name) as file:
            file.write(part)
