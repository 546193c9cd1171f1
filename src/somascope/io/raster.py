"""PNG, JPEG and TIFF in and out: single planes, numbered stacks and multi-page stacks.

Pictures do not say where they are: the grid is 1 mm unless a microscopy header (ImageJ, OME) gives
a voxel size or the caller does. The resolution of print (dpi) is never taken for anatomy.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, ParameterError, WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.atomic import replacing
from somascope.io.stream import check_size

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGEST = 1 << 28
"""Most pixels of one PNG or JPEG: 268 million, beyond which it is a decompression bomb."""


class RasterReader:
    """PNG, JPEG and TIFF (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the bytes start with the signature of one of the three."""
        return head.startswith((_PNG, _JPEG, *_TIFF))

    def read(self, path: Path) -> list[Image]:
        """One image; of a TIFF with several series one each."""
        return read(path)


READER = RasterReader()


def read(path: str | Path, *, spacing: Sequence[float] | None = None) -> list[Image]:
    """Read one PNG, JPEG or TIFF file.

    Parameters
    ----------
    path
        The file.
    spacing
        ``(dz, dy, dx)`` in mm; default: what an ImageJ or OME header says, else 1 mm.

    Returns
    -------
    list of Image
        Gray or colour (axis ``channel``), in the file's depth (8, 16 or 32 bit). Palettes become
        colour, and transparency is laid on black. The pages of a TIFF are slices, or the axis
        ``t`` where its header says so.

    Raises
    ------
    CorruptFile
        Damaged, or claiming more pixels than it can hold.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_TIFF):
        from somascope.io import tiff

        return tiff.read(path, spacing=spacing)
    data = _picture(path, head)
    return [_plane(data, path.name, spacing)]


def stack(paths: Sequence[str | Path], *, spacing: Sequence[float] | None = None) -> Image:
    """One volume from pictures of one size, slice by slice in the order given.

    Raises
    ------
    CorruptFile
        When sizes or kinds differ between the files.
    """
    if not paths:
        raise ParameterError("stack needs at least one file; paths is empty")
    planes: list[Image] = []
    for path in paths:
        images = read(path, spacing=spacing)
        first = planes[0] if planes else images[0]
        same = images[0].shape == first.shape and images[0].data.dtype == first.data.dtype
        if len(images) != 1 or not same or first.grid.shape[0] != 1:
            raise CorruptFile(
                f"{Path(path).name} is {images[0].shape} {images[0].data.dtype} and "
                f"{Path(paths[0]).name} is {first.shape} {first.data.dtype}; slices of one stack "
                "must be alike"
            )
        planes.append(images[0])
    data = np.concatenate([p.data for p in planes], axis=-3)
    grid = Grid(data.shape[-3:], planes[0].grid.affine)  # pyright: ignore[reportArgumentType]
    folder = Path(paths[0]).parent.name or Path(paths[0]).name
    return Image(data, grid, axes=planes[0].axes, provenance=Provenance((Source("file", folder),)))


def numbered(paths: Sequence[Path]) -> list[list[Path]]:
    """Files of one folder whose names differ in their last number only, in the order of it.

    The numbers must rise by equal steps: ``r16, r27, r64`` are pictures of their own.
    """
    groups: dict[tuple[Path, str, str], list[tuple[int, Path]]] = defaultdict(list)
    for path in paths:
        found = re.fullmatch(r"(.*?)(\d+)(\D*)", path.name)
        if found is None:
            groups[path, "", ""].append((0, path))
        else:
            groups[path.parent, found[1], found[3]].append((int(found[2]), path))
    result: list[list[Path]] = []
    for _, members in sorted(groups.items()):
        group = sorted(members)
        steps = {b[0] - a[0] for a, b in pairwise(group)}
        ordered = [path for _, path in group]
        result += [ordered] if len(steps) == 1 else [[path] for path in ordered]
    return result


def _plane(data: Array, name: str, spacing: Sequence[float] | None) -> Image:
    colour = data.ndim == 3
    data = np.moveaxis(data, -1, 0)[:, None] if colour else data[None]
    return Image(
        data=np.ascontiguousarray(data),
        grid=plain_grid(data.shape[-3:], spacing),
        axes=(Axis("channel"),) if colour else (),
        provenance=Provenance((Source("file", name),)),
    )


def plain_grid(shape: Sequence[int], spacing: Sequence[float] | None) -> Grid:
    """An axial grid at the origin; 1 mm where no spacing ``(dz, dy, dx)`` is given."""
    spacing = (1.0, 1.0, 1.0) if spacing is None else spacing
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise ParameterError(f"spacing is {spacing!r}; give (dz, dy, dx) in mm, all positive")
    return Grid.from_spacing(shape, spacing)


def _picture(path: Path, head: bytes) -> Array:
    """``(ny, nx)`` or ``(ny, nx, 3)``."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    name, stored = path.name, path.stat().st_size
    deep_colour = False
    if head.startswith(_PNG):
        if len(head) < 33 or head[12:16] != b"IHDR":
            raise CorruptFile(f"{name} has no IHDR chunk after its signature (PNG 11.2.1)")
        nx, ny, depth, kind = struct.unpack(">IIBB", head[16:26])
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 1)
        rows = (ny, (nx * channels * depth + 7) // 8)
        check_size(rows, 1, available=stored, compression="deflate", name=name)
        _bounded(nx, ny, name)
        deep_colour = depth == 16 and channels > 1
    if deep_colour:
        return _deep_png(path)
    try:
        with warnings.catch_warnings(), Pillow.open(path, formats=("PNG", "JPEG")) as picture:
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            _bounded(*picture.size, name)
            picture.load()
            turned: Any = ImageOps.exif_transpose(picture)
            if turned.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
                turned = turned.convert("RGBA" if "transparency" in turned.info else "RGB")
            if turned.mode == "1":
                turned = turned.convert("L")
            data = np.asarray(turned)
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise CorruptFile(f"{name} cannot be decoded ({error}); copy it again") from error
    if data.dtype == np.int32:  # Pillow's mode I, from 16-bit gray
        data = data.astype(np.uint16)
    return opaque(data)


def _bounded(nx: int, ny: int, name: str) -> None:
    if not 0 < nx * ny <= LARGEST:
        raise CorruptFile(
            f"{name} claims {nx} x {ny} pixels; pictures of 1 to {LARGEST} pixels are read"
        )


def _deep_png(path: Path) -> Array:
    import imagecodecs

    try:
        return opaque(np.asarray(imagecodecs.png_decode(path.read_bytes())))
    except Exception as error:
        raise CorruptFile(f"{path.name} cannot be decoded ({error}); copy it again") from error


def opaque(data: Array) -> Array:
    """Without the alpha channel: laid on black."""
    if data.ndim == 2 or data.shape[-1] not in (2, 4):
        return data
    colour, alpha = data[..., :-1], data[..., -1:]
    top = np.iinfo(data.dtype).max
    if (alpha != top).any():
        colour = (colour.astype(np.float64) * alpha / top + 0.5).astype(data.dtype)
    return np.ascontiguousarray(colour if colour.shape[-1] == 3 else colour[..., 0])


def write(image: Image | Mask, path: str | Path) -> None:
    """Write ``.png``, ``.jpg`` or ``.tif``; values are written as they are, never rescaled.

    PNG takes one plane of bool, uint8, uint16, or colour; JPEG uint8 (quality 95, lossy); TIFF any
    stack, with its spacing as OME metadata. Place and direction are lost in all three.

    Raises
    ------
    WriteError
        Values or shapes the format cannot hold, with what to do first.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    data = image.data
    axes = image.axes if isinstance(image, Image) else (Axis("segment"),) * (data.ndim - 3)
    names = [a.name for a in axes]
    if data.dtype == np.bool_:
        data = data.astype(np.uint8) * np.uint8(255)
    if suffix in (".tif", ".tiff"):
        from somascope.io import tiff

        tiff.write(data, axes, grid=image.grid, path=path)
        return
    plane = _plane_of(data, names, path)
    kinds = ("uint8",) if suffix != ".png" else ("uint8", "uint16")
    if plane.dtype.name not in kinds:
        raise WriteError(
            f"{path.name}: {suffix} holds {' or '.join(kinds)}, the image is {plane.dtype}; map it "
            "to gray first (process.window), or write .tif, .nrrd or .nii.gz to keep the values"
        )
    if suffix == ".png" and plane.dtype == np.uint16:
        import imagecodecs

        packed = bytes(imagecodecs.png_encode(plane))
    else:
        from PIL import Image as Pillow

        buffer = io.BytesIO()
        picture = Pillow.fromarray(np.ascontiguousarray(plane))
        if suffix == ".png":
            picture.save(buffer, "PNG")
        else:
            picture.save(buffer, "JPEG", quality=95, subsampling=0)
        packed = buffer.getvalue()
    with replacing(path) as file:
        file.write(packed)


def _plane_of(data: Array, names: list[str], path: Path) -> Array:
    colour = names == ["channel"] and data.shape[0] == 3
    if (names and not colour) or data.shape[-3] != 1:
        raise WriteError(
            f"{path.name}: one picture holds one plane, the image has shape {data.shape}; take a "
            "plane with image.crop or image.at, or write a stack as .tif"
        )
    return np.ascontiguousarray(np.moveaxis(data[:, 0], 0, -1) if colour else data[0])
