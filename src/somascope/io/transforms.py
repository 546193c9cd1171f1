"""Files that hold a `Warp`: ITK, ANTs, elastix, FSL; the format is told by the suffix.

All say where a point of the fixed image lies in the moving one, in LPS mm, as a `Warp` does; FSL
alone counts in scaled voxels and needs both grids (`fsl.mat` below).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat, WriteError
from somascope.core.finding import Warp
from somascope.core.grid import Array, Float, Grid
from somascope.io.atomic import replacing
from somascope.io.write import suffix_of

SUFFIXES = (".nii.gz", ".nii", ".tfm", ".h5", ".mat", ".txt", ".json", ".dcm")
LINEAR = (".tfm", ".mat", ".txt", ".json")
"""Of maps that do not bend."""


def write_warp(warp: Warp, path: str | Path) -> None:
    """Write ``warp``.

    ``.nii``, ``.nii.gz``: a displacement field as ANTs and greedy take it, the affine part in it;
    ``.h5``: an ITK composite of both parts; ``.tfm``, ``.mat`` (ANTs) and ``.txt`` (elastix):
    affine ones; ``.json``: affine ones, readable; ``.dcm`` or a folder: DICOM (Deformable) Spatial
    Registration.

    Raises
    ------
    WriteError
        The format cannot hold it.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix in ("", ".dcm"):
        from somascope.io.dicom.registration import instances

        parts = instances(warp)
        target = path if suffix else path / "000001.dcm"
        with replacing(target) as file:
            file.write(parts[0])
        return
    if suffix in (".nii", ".nii.gz"):
        _write_nifti(warp, path)
        return
    if suffix == ".h5":
        from somascope.io.transforms_itk import write_composite

        write_composite(warp, path)
        return
    if suffix not in SUFFIXES:
        raise WriteError(
            f"{path.name}: {suffix!r} names no format of transforms; use one of "
            f"{', '.join(SUFFIXES)}, or a folder for DICOM"
        )
    if warp.displacement is not None:
        raise WriteError(
            f"{path.name}: {suffix} holds affine maps and this one bends; use .nii.gz, .h5, .dcm "
            "or a folder"
        )
    with replacing(path) as file:
        file.write(_affine_bytes(warp.matrix, suffix))


def _affine_bytes(matrix: Float, suffix: str) -> bytes:
    if suffix == ".json":
        return (json.dumps({"kind": "warp", "matrix": matrix.tolist()}, indent=1) + "\n").encode()
    from somascope.io import transforms_itk

    if suffix == ".mat":
        return transforms_itk.ants_mat(matrix)
    return (
        transforms_itk.tfm(matrix) if suffix == ".tfm" else transforms_itk.elastix(matrix)
    ).encode()


def read_warp(path: str | Path) -> Warp:
    """The warp in a file; the format is told from the content.

    Raises
    ------
    NotFound, UnsupportedFormat, CorruptFile
        With the reason.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if len(files) != 1:
            raise UnsupportedFormat(f"{path} holds {len(files)} files, not one registration")
        path = files[0]
    if not path.is_file():
        raise NotFound(f"there is no file {str(path)!r}")
    with path.open("rb") as file:
        head = file.read(400)
    try:
        return _read(path, head)
    except (NotFound, UnsupportedFormat, CorruptFile):
        raise
    except Exception as error:
        raise CorruptFile(
            f"{path.name} is no transform: {type(error).__name__}: {error}"
        ) from error


def _read(path: Path, head: bytes) -> Warp:
    from somascope.io import transforms_itk

    if head[128:132] == b"DICM":
        from somascope.io.dicom.registration import read

        return read(path)
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return transforms_itk.read_composite(path)
    if head[:2] == b"\x1f\x8b" or head[344:347] in (b"n+1", b"ni1"):
        return _read_nifti(path)
    text = head.decode("utf-8", "replace").lstrip()
    if text.startswith("#Insight Transform"):
        return transforms_itk.read_tfm(path.read_text(encoding="utf-8"))
    if "(Transform " in text or "(NumberOfParameters" in text or text.startswith("//"):
        return transforms_itk.read_elastix(path.read_text(encoding="utf-8"))
    if text.startswith("{"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Warp(matrix=np.asarray(record["matrix"], np.float64).reshape(4, 4))
    if b"AffineTransform" in head or b"MatrixOffset" in head:
        return transforms_itk.read_ants_mat(path)
    raise UnsupportedFormat(
        f"{path.name} is no transform known here (it starts with {head[:12]!r}); known are ITK "
        ".tfm and .h5, ANTs .mat and displacement NIfTI, elastix .txt, DICOM registrations; an FSL "
        ".mat needs both images: somascope transform, or io.transforms.from_fsl"
    )


def total(warp: Warp, grid: Grid) -> Array:
    """The whole way of each voxel, ``(3, nz, ny, nx)`` in L, P, S mm, affine part included."""
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    world = grid.to_world(np.stack(axes, axis=-1))
    way = world @ warp.matrix[:3, :3].T + warp.matrix[:3, 3] - world
    out = np.moveaxis(way, -1, 0)
    if warp.displacement is not None:
        if warp.grid is None or warp.grid.shape != grid.shape or not warp.grid.allclose(grid):
            raise WriteError("a displacement is written on its own grid; resample the warp first")
        out = out + warp.displacement
    return np.ascontiguousarray(out, np.float32)


def _write_nifti(warp: Warp, path: Path) -> None:
    import nibabel as nib

    if warp.grid is None:
        raise WriteError(
            f"{path.name}: a field of displacements needs a grid and this affine warp has none; "
            "use .tfm, .mat, .txt, .json or .dcm"
        )
    # NIfTI: x y z, one time, three components; ITK keeps the components in L, P, S.
    field = np.transpose(total(warp, warp.grid), (3, 2, 1, 0))[:, :, :, None, :]
    affine = warp.grid.affine[:, [2, 1, 0, 3]].copy()
    affine[:2] *= -1
    image = nib.Nifti1Image(field, affine)  # pyright: ignore[reportPrivateImportUsage]
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    name = path.with_name("." + path.name)
    image.to_filename(name)
    name.replace(path)


def _read_nifti(path: Path) -> Warp:
    import nibabel as nib

    image: Any = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
    data = np.asarray(image.dataobj, np.float32)
    if data.ndim != 5 or data.shape[3:] != (1, 3):
        raise UnsupportedFormat(
            f"{path.name} is a NIfTI of {'x'.join(map(str, data.shape))}; a displacement field has "
            "x y z 1 3"
        )
    affine = np.asarray(image.affine, np.float64)[:, [2, 1, 0, 3]].copy()
    affine[:2] *= -1
    field = np.ascontiguousarray(np.transpose(data[:, :, :, 0, :], (3, 2, 1, 0)))
    grid = Grid((field.shape[1], field.shape[2], field.shape[3]), affine)
    return Warp(matrix=np.eye(4), grid=grid, displacement=field)


def _scaled(grid: Grid) -> Float:
    """FSL's coordinates of a grid (mm along the stored x y z axes) from (z, y, x) indices."""
    dz, dy, dx = grid.spacing
    out = np.zeros((4, 4))
    out[0, 2], out[1, 1], out[2, 0], out[3, 3] = dx, dy, dz, 1.0
    # x runs from right to left there: a volume stored otherwise is flipped (NIfTI's handedness).
    nifti = grid.affine[:3, [2, 1, 0]] * np.array([[-1.0], [-1.0], [1.0]])
    if np.linalg.det(nifti) > 0:
        out[0] = -out[0]
        out[0, 3] = (grid.shape[2] - 1) * dx
    return out


def from_fsl(matrix: Float, fixed: Grid, moving: Grid) -> Warp:
    """The warp of a FLIRT matrix (4x4, moving to fixed in FSL's coordinates; ``-in`` moves)."""
    back = np.linalg.inv(np.asarray(matrix, np.float64).reshape(4, 4))
    to = moving.affine @ np.linalg.inv(_scaled(moving)) @ back @ _scaled(fixed)
    whole = to @ np.linalg.inv(fixed.affine)
    whole[3] = (0, 0, 0, 1)
    return Warp(
        matrix=whole, fixed_frame=fixed.frame_of_reference, moving_frame=moving.frame_of_reference
    )


def to_fsl(warp: Warp, fixed: Grid, moving: Grid) -> Float:
    """The FLIRT matrix of an affine warp."""
    if warp.displacement is not None:
        raise WriteError("a FLIRT matrix is affine and this warp bends; use .nii.gz or .h5")
    way = np.linalg.inv(moving.affine) @ warp.matrix @ fixed.affine
    forward = _scaled(moving) @ way @ np.linalg.inv(_scaled(fixed))
    return np.asarray(np.linalg.inv(forward), np.float64)
