"""Write NIfTI-1, and NIfTI-2 where an axis is too long for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array
from somascope.core.image import Axis, Image
from somascope.io.atomic import replacing
from somascope.io.gz import pack
from somascope.io.nifti import LPS, OTHER_T
from somascope.io.stream import put_array

LABEL = 1002
"""``NIFTI_INTENT_LABEL``: values are numbers of labels."""

_BIGGEST_1 = 32767


def write(image: Image | Mask, path: str | Path) -> None:
    """Write ``.nii`` or ``.nii.gz``: NIfTI-1, or NIfTI-2 where an axis is longer than 32767.

    The dtype is kept (bool becomes uint8, float16 float32); qform and sform are both set with code
    1 (scanner), the qform left out when the axes are sheared. A `Mask` gets intent ``LABEL``.

    Raises
    ------
    WriteError
        For colour that is not uint8, and more than seven dimensions.
    """
    import nibabel as nib

    path = Path(path)
    data, axes, label = _contents(image)
    if axes and axes[-1].name == "channel" and data.shape[-4] == 3 and not label:
        if data.dtype != np.uint8:
            raise WriteError(
                f"{path.name}: NIfTI holds colour as three uint8, not {data.dtype}; scale it to "
                "0..255 first, or write NRRD"
            )
        data = np.ascontiguousarray(np.moveaxis(data, -4, -1)).view([(c, "u1") for c in "RGB"])
        data, axes = data[..., 0], axes[:-1]
    if data.ndim > 7:
        raise WriteError(f"{path.name}: NIfTI has seven dimensions, the image has {data.ndim}")
    data, axes = _time_fourth(data, axes)
    big = max(data.shape) > _BIGGEST_1
    header: Any = nib.Nifti2Header() if big else nib.Nifti1Header()
    header.set_data_dtype(_stored(data.dtype))
    header.set_data_shape(tuple(reversed(data.shape)))
    ras = LPS @ image.grid.affine[:, [2, 1, 0, 3]]
    header.set_sform(ras, code=1)
    header["pixdim"][1:4] = np.linalg.norm(ras[:3, :3], axis=0)
    if image.grid.is_orthogonal(tolerance=1e-6):
        header.set_qform(ras, code=1)
    t, space_time = _time(axes)
    header["xyzt_units"] = space_time
    if data.ndim > 3:
        header["pixdim"][4], header["toffset"] = t
    if label:
        header["intent_code"] = LABEL
    elif axes and axes[0].name == "component":
        header["intent_code"] = 1007
    header["descrip"] = b"Somascope"
    header["magic"] = b"n+2" if big else b"n+1"
    header["vox_offset"] = len(header.binaryblock) + 4
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    voxels = np.ascontiguousarray(data, _stored(data.dtype))
    with replacing(path) as file:
        front = header.binaryblock + bytes(4)
        if path.name.lower().endswith(".gz"):
            pack(file, voxels, before=front)
        else:
            file.write(front)
            put_array(file, voxels)


def _time_fourth(data: Array, axes: tuple[Axis, ...]) -> tuple[Array, tuple[Axis, ...]]:
    """Time moved to dimension 4, where programs look for it; vectors to dimension 5."""
    names = [a.name for a in axes]
    if "t" in names:
        k = names.index("t")
        return np.moveaxis(data, k, -4), (*axes[:k], *axes[k + 1 :], axes[k])
    if names and names[-1] in ("component", "dim5"):
        return np.expand_dims(data, -4), (*axes, Axis("t"))
    return data, axes


def _contents(image: Image | Mask) -> tuple[Array, tuple[Axis, ...], bool]:
    if isinstance(image, Mask):
        axes = (Axis("segment"),) if image.data.ndim == 4 else ()
        return image.data, axes, not image.fractional
    return image.data, image.axes, False


def _stored(dtype: np.dtype) -> np.dtype:
    if dtype.names:
        return dtype
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def _time(axes: tuple[Axis, ...]) -> tuple[tuple[float, float], int]:
    """(pixdim[4], toffset) and ``xyzt_units``."""
    if not axes:
        return (1.0, 0.0), 2
    values = axes[-1].values
    step = float(values[1] - values[0]) if len(values) > 1 else 0.0
    start = float(values[0]) if values else 0.0
    if axes[-1].name == "t":
        return (step, start), 2 | 8
    for code, (name, _) in OTHER_T.items():
        if name == axes[-1].name:
            return (step, start), 2 | code
    return (0.0, 0.0), 2
