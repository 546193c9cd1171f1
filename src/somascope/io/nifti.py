"""Read NIfTI-1 and NIfTI-2; here and in `nifti_write` only exist RAS and (x, y, z) order.

Source: NIfTI-1 standard, ``nifti1.h`` (R. W. Cox, 2003, methods 1 to 3 of the orientation
section), and ``nifti2.h`` (2011).
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.bids import read_sidecar, times_beside
from somascope.io.gz import unpack
from somascope.io.stream import check_end, check_size, read_array

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS, and back."""

_SPACE = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""``xyzt_units & 7``: unknown, metre, millimetre, micrometre; to mm."""

_TIME = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
"""``xyzt_units & 56``: unknown, second, millisecond, microsecond; to s."""

OTHER_T = {32: ("frequency", "Hz"), 40: ("shift", "[ppm]"), 48: ("angular_frequency", "rad/s")}

_RGB, _RGBA = 128, 2304
_VECTORS = {1006, 1007}


class NiftiReader:
    """``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether the bytes start like a NIfTI header, compressed or not."""
        if _version(_plain(head)) is not None:
            return True
        pair = _header_of(path)
        if pair is None or pair == path:
            return False
        with _opened(pair) as stream:
            return _version(stream.read(540)) is not None

    def read(self, path: Path) -> list[Image]:
        """The one image in the file."""
        return [read(path)]


READER = NiftiReader()


def _plain(head: bytes) -> bytes:
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        return zlib.decompressobj(31).decompress(head, 540)
    except zlib.error:
        return b""


def _version(head: bytes) -> tuple[int, str, bool] | None:
    """NIfTI version, byte order, and whether the voxels are in the same file; or None."""
    for order, word in (("<", "little"), (">", "big")):
        size = int.from_bytes(head[:4], word)  # pyright: ignore[reportArgumentType]
        if size == 348 and head[344:347] in (b"n+1", b"ni1"):
            return 1, order, head[345:346] == b"+"
        if size == 540 and head[4:7] in (b"n+2", b"ni2"):
            return 2, order, head[5:6] == b"+"
    return None


def _header_of(path: Path) -> Path | None:
    name = path.name.removesuffix(".gz")
    if not name.lower().endswith(".img"):
        return None
    for suffix in (".hdr", ".hdr.gz"):
        pair = path.with_name(name[:-4] + suffix)
        if pair.is_file():
            return pair
    return None


def _data_of(path: Path) -> Path:
    name = path.name.removesuffix(".gz")
    for suffix in (".img", ".img.gz"):
        pair = path.with_name(name.rpartition(".")[0] + suffix)
        if pair.is_file():
            return pair
    raise CorruptFile(
        f"{path.name} is the header of a NIfTI pair and its .img file is not beside it; put both "
        "in one folder"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream  # pyright: ignore[reportReturnType]
        else:
            yield file


def read(path: str | Path) -> Image:
    """Read one NIfTI file.

    The affine is the sform where ``sform_code > 0``, else the qform where ``qform_code > 0``, else
    the voxel sizes alone (methods 3, 2, 1 of the standard). Scaling that keeps whole numbers whole
    keeps an integer dtype. RGB becomes a ``channel`` axis; the fourth dimension the axis ``t`` in
    seconds, or ``b`` in s/mm2 where a ``.bval`` file lies beside. Facts come from a BIDS side-car,
    in a BIDS dataset from all that apply (`bids_dataset.told`).

    Raises
    ------
    CorruptFile
        Truncated, failing its check sum, or declaring what it cannot hold.
    UnsupportedFormat
        Analyze 7.5 (handedness unknown) and element types without a NumPy equivalent.
    """
    path = Path(path)
    path = _header_of(path) or path
    try:
        with _opened(path) as stream:
            block = stream.read(540)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CorruptFile(f"{path.name} cannot be decompressed ({error}); copy it again") from error
    found = _version(block)
    if found is None:
        if len(block) >= 348 and 348 in {int.from_bytes(block[:4], o) for o in ("little", "big")}:
            raise UnsupportedFormat(
                f"{path.name} is an Analyze 7.5 header, which does not say which side is left; "
                "convert it to NIfTI with the program that wrote it"
            )
        raise CorruptFile(f"{path.name} does not start with a NIfTI header")
    version, order, single = found
    header = _header(block, version, order, path.name)
    shape, dtype = _layout(header, path.name)
    raw = _voxels(path if single else _data_of(path), header, shape, dtype, single=single)
    from somascope.io.bids_dataset import told

    return told(path, _image(header, raw, path))


def _header(block: bytes, version: int, order: str, name: str) -> Any:
    import nibabel as nib

    kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    size = 348 if version == 1 else 540
    if len(block) < size:
        raise CorruptFile(f"{name} ends within its {size}-byte header; copy it again")
    return kind(block[:size], endianness=order, check=False)


def _layout(header: Any, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape in C order (v, t, z, y, x) and the element type."""
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise CorruptFile(f"{name} declares {dim[0]} dimensions; NIfTI has 1 to 7")
    sizes = dim[1 : dim[0] + 1]
    if min(sizes) < 1:
        raise CorruptFile(f"{name} declares the sizes {sizes}; every size must be positive")
    sizes += [1] * (3 - len(sizes))
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except Exception as error:
        raise UnsupportedFormat(f"{name} has the element type {code}, not read here") from error
    if code not in (_RGB, _RGBA) and dtype.kind not in "iufc":
        raise UnsupportedFormat(f"{name} has the element type {code} ({dtype}), not read here")
    return tuple(reversed(sizes)), dtype


def _voxels(
    path: Path, header: Any, shape: tuple[int, ...], dtype: np.dtype, *, single: bool
) -> Array:
    offset = float(header["vox_offset"])
    if not (np.isfinite(offset) and offset >= 0 and offset == int(offset)):
        raise CorruptFile(f"{path.name} says that its voxels start at byte {offset}")
    start = int(offset)
    if single and start < len(header.binaryblock):
        # Zero is written by old programs and means "right behind the header".
        start = len(header.binaryblock) + 4 if start == 0 else start
        if start < len(header.binaryblock):
            raise CorruptFile(
                f"{path.name} says that its voxels start at byte {start}, in the header"
            )
    with _opened(path) as stream:
        packed = isinstance(stream, gzip.GzipFile)
        stored = path.stat().st_size
        check_size(
            shape, dtype.itemsize,
            available=stored if packed else stored - start,
            compression="deflate" if packed else "none", name=path.name,
        )  # fmt: skip
        if packed:
            whole = unpack(path.read_bytes(), dtype, shape, skip=start)
            if whole is not None:
                return whole
        try:
            stream.seek(start)
        except (EOFError, OSError, zlib.error) as error:
            raise CorruptFile(f"{path.name} is damaged before its voxels ({error})") from error
        raw = read_array(stream, dtype, shape, name=path.name)
        if packed:
            check_end(stream, name=path.name)
    return raw


def _image(header: Any, raw: Array, path: Path) -> Image:
    name = path.name
    units = int(header["xyzt_units"])
    axes = _axes(header, raw.shape[:-3], units, path)
    single = tuple(i for i, n in enumerate(raw.shape[:-3]) if n == 1)
    raw = raw.squeeze(axis=single)
    axes = tuple(a for i, a in enumerate(axes) if i not in single)
    if raw.dtype.names:
        planes = raw.view(np.uint8).reshape(*raw.shape, len(raw.dtype.names))
        data = np.ascontiguousarray(np.moveaxis(planes[..., :3], -1, -4))
        axes = (*axes, Axis("channel"))
    else:
        data = raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))
        data = _scaled(data, float(header["scl_slope"]), float(header["scl_inter"]))
    affine = _affine(header, name) * np.array([_SPACE.get(units & 7, 1.0)] * 3 + [1.0])[:, None]
    attributes = read_sidecar(path)
    modality = str(attributes.pop("Modality", "") or "OT")
    return Image(
        data=data,
        grid=Grid(raw.shape[-3:], affine),  # pyright: ignore[reportArgumentType]
        modality=modality,
        unit=str(attributes.pop("Units", "") or "1"),
        axes=axes,
        provenance=Provenance((Source("file", name),)),
        attributes=attributes,
    )


def _affine(header: Any, name: str) -> Float:
    """LPS of (z, y, x), before the unit of length."""
    pixdim = np.array(header["pixdim"], np.float64)
    sizes = np.abs(pixdim[1:4])
    # Sizes of unused dimensions are often left at zero.
    sizes[~np.isfinite(sizes) | (sizes == 0)] = 1.0
    ras = np.eye(4)
    if int(header["sform_code"]) > 0:
        ras[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    if int(header["sform_code"]) <= 0 or not _regular(ras):
        ras = np.diag([*sizes, 1.0])
        if int(header["qform_code"]) > 0:
            ras[:3, :3] = _rotation(header, name) * sizes
            # pixdim[0] is qfac: -1 turns the third axis round; anything else means +1.
            ras[:3, 2] *= -1.0 if pixdim[0] == -1 else 1.0
            ras[:3, 3] = [header[f"qoffset_{a}"] for a in "xyz"]
    if not _regular(ras):
        raise CorruptFile(f"{name} has the affine {ras.tolist()}, which is not invertible")
    return (LPS @ ras)[:, [2, 1, 0, 3]]


def _regular(affine: Float) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12)


def _rotation(header: Any, name: str) -> Float:
    b, c, d = (float(header[f"quatern_{k}"]) for k in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if not np.isfinite(rest) or rest < -1e-3:
        raise CorruptFile(f"{name} has the quaternion ({b}, {c}, {d}), longer than one")
    if rest < 1e-7:  # a half turn: renormalise, as the standard's own code does
        scale = 1.0 / np.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b * scale, c * scale, d * scale
    else:
        a = np.sqrt(rest)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def _scaled(data: Array, slope: float, inter: float) -> Array:
    """``slope * data + inter``; an integer dtype stays one where nothing is lost."""
    if slope == 0 or not np.isfinite(slope):
        return data
    inter = inter if np.isfinite(inter) else 0.0
    if slope == 1 and inter == 0:
        return data
    if data.dtype.kind == "c":
        return data * slope + inter
    if data.dtype.kind in "iu" and slope == int(slope) and inter == int(inter):
        ends = [
            int(data.min()) * int(slope) + int(inter),
            int(data.max()) * int(slope) + int(inter),
        ]
        for kind in (data.dtype, np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)):
            info = np.iinfo(kind)
            if kind.itemsize >= data.dtype.itemsize and all(
                info.min <= e <= info.max for e in ends
            ):
                wide = data.astype(np.int64) * int(slope) + int(inter)
                return wide.astype(kind)
    exact = data.astype(np.float64) * slope + inter
    small = data.dtype.itemsize <= 2 or data.dtype == np.float32
    # A factor that float32 cannot hold is most likely damage, but float64 keeps what it says.
    small = small and abs(slope) < 1e30 and abs(inter) < 1e30
    return exact.astype(np.float32) if small else exact


def _axes(header: Any, leading: tuple[int, ...], units: int, path: Path) -> tuple[Axis, ...]:
    """Axes for dimensions 7, 6, 5, 4, in that order."""
    axes: list[Axis] = []
    for number, n in zip(range(3 + len(leading), 3, -1), leading, strict=True):
        if number > 4:
            vector = number == 5 and int(header["intent_code"]) in _VECTORS
            axes.append(Axis("component" if vector else f"dim{number}"))
            continue
        step, start = float(header["pixdim"][4]), float(header["toffset"])
        b_values, listed = _b_values(path, n), times_beside(path, n)
        if b_values:
            axes.append(Axis("b", b_values, "s/mm2"))
        elif listed:
            axes.append(Axis("t", listed, "s"))
        elif (units & 56) in OTHER_T:
            axis, unit = OTHER_T[units & 56]
            axes.append(Axis(axis, tuple(start + step * i for i in range(n)), unit))
        elif np.isfinite(step) and step > 0:
            scale = _TIME.get(units & 56, 1.0)
            start = start if np.isfinite(start) else 0.0
            axes.append(Axis("t", tuple((start + step * i) * scale for i in range(n)), "s"))
        else:
            axes.append(Axis("t"))
    return tuple(axes)


def stem(path: Path) -> str:
    """File name without ``.nii``, ``.nii.gz``, ``.hdr`` or ``.img``."""
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _b_values(path: Path, n: int) -> tuple[float, ...]:
    beside = path.with_name(stem(path) + ".bval")
    if not beside.is_file() or beside.stat().st_size > 1 << 20:
        return ()
    try:
        values = tuple(float(v) for v in beside.read_text("ascii").split())
    except ValueError:
        return ()
    return values if len(values) == n else ()
