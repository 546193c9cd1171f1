"""MetaImage against SimpleITK, whose own format it is."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from somascope.core import Axis, Grid, Image
from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.io import read, write

TURN = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
OBLIQUE = Grid.from_spacing((5, 6, 7), (3, 2, 1.5), origin=(10, -20, 30), direction=TURN @ AXIAL)
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES += ["float32", "float64"]


def some(shape: tuple[int, ...], dtype: str = "int16", *axes: Axis) -> Image:
    values = np.random.default_rng(3).integers(0, 120, shape).astype(dtype)
    return Image(values, OBLIQUE, modality="CT", axes=axes)


def foreign(image: Image) -> SimpleITK.Image:
    other = SimpleITK.GetImageFromArray(image.data)
    other.SetOrigin(OBLIQUE.origin)
    other.SetSpacing(OBLIQUE.spacing[::-1])
    other.SetDirection(OBLIQUE.direction[:, ::-1].ravel().tolist())
    return other


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_simpleitk_agrees(name: str, dtype: str, tmp_path: Path) -> None:
    image = some((5, 6, 7), dtype)
    write(image, tmp_path / name)
    back = read(tmp_path / name)
    assert isinstance(back, Image)
    assert back.data.dtype == image.data.dtype
    assert np.array_equal(back.data, image.data)
    assert back.grid.allclose(OBLIQUE, tolerance_mm=1e-9)
    assert back.modality == "CT"
    other = SimpleITK.ReadImage(tmp_path / name)
    assert np.array_equal(SimpleITK.GetArrayFromImage(other), image.data)
    for zyx in [(0, 0, 0), (4, 5, 6), (1, 0, 3)]:
        there = other.TransformIndexToPhysicalPoint(tuple(reversed(zyx)))
        assert np.allclose(there, OBLIQUE.to_world(zyx), atol=1e-9)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["s.mha", "s.mhd"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_files_of_simpleitk_are_read(packed: bool, name: str, dtype: str, tmp_path: Path) -> None:
    image = some((5, 6, 7), dtype)
    SimpleITK.WriteImage(foreign(image), tmp_path / name, packed)
    back = read(tmp_path / name)
    assert isinstance(back, Image)
    assert np.array_equal(back.data, image.data)
    assert back.grid.allclose(OBLIQUE, tolerance_mm=1e-4)


def test_times_colour_and_both(tmp_path: Path) -> None:
    times, colour = Axis("t", (1.0, 1.5), "s"), Axis("channel")
    for axes, shape in (
        ((times,), (2, 5, 6, 7)),
        ((colour,), (3, 5, 6, 7)),
        ((times, colour), (2, 3, 5, 6, 7)),
    ):
        image = some(shape, "uint8", *axes)
        write(image, tmp_path / "a.mha")
        back = read(tmp_path / "a.mha")
        assert back.axes == axes
        assert np.array_equal(back.data, image.data)
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.mha"))
        other = np.moveaxis(other, -1, -4) if colour in axes else other
        assert np.array_equal(other, image.data)


def mha(path: Path, body: bytes, **fields: str) -> Path:
    given = {"NDims": "3", "DimSize": "2 3 4", "ElementType": "MET_SHORT", **fields}
    tail = given.pop("ElementDataFile", "LOCAL")
    lines = [
        "ObjectType = Image",
        *(f"{k} = {v}" for k, v in given.items()),
        f"ElementDataFile = {tail}",
    ]
    path.write_bytes(("\n".join(lines) + "\n").encode() + body)
    return path


VALUES = np.arange(24, dtype="<i2").reshape(4, 3, 2)
RAW = VALUES.tobytes()


def test_headers_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    big = VALUES.astype(">i2").tobytes()
    assert np.array_equal(read(mha(path, big, ElementByteOrderMSB="True")).data, VALUES)
    text = " ".join(map(str, VALUES.ravel())).encode()
    assert np.array_equal(read(mha(path, text, BinaryData="False")).data, VALUES)
    assert np.array_equal(read(mha(path, b"junk" + RAW, HeaderSize="-1")).data, VALUES)
    assert np.array_equal(read(mha(path, b"junk" + RAW, HeaderSize="4")).data, VALUES)
    packed = mha(path, zlib.compress(RAW), CompressedData="True")
    assert np.array_equal(read(packed).data, VALUES)
    turned = read(
        mha(path, RAW, Rotation="0 1 0 -1 0 0 0 0 1", Position="5 6 7", ElementSpacing="2 3 4")
    )
    assert np.allclose(
        turned.grid.to_world([(0, 0, 0), (0, 0, 1), (0, 1, 0)]), [[5, 6, 7], [5, 8, 7], [2, 6, 7]]
    )


def test_two_dimensions(tmp_path: Path) -> None:
    path = mha(tmp_path / "a.mha", RAW[:12], NDims="2", DimSize="2 3", ElementSpacing="1.5 2")
    assert read(path).shape == (1, 3, 2)
    assert read(path).grid.spacing == (1, 2, 1.5)


def test_slices_in_files(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"s{i}.raw").write_bytes(VALUES[i].tobytes())
    assert np.array_equal(
        read(mha(tmp_path / "a.mhd", b"", ElementDataFile="s%d.raw 0 3 1")).data, VALUES
    )
    names = b"s3.raw\ns2.raw\ns1.raw\ns0.raw\n"
    assert np.array_equal(
        read(mha(tmp_path / "b.mhd", names, ElementDataFile="LIST")).data, VALUES[::-1]
    )


@pytest.mark.parametrize("named", ["../secret.raw", "/etc/passwd", "link.raw"])
def test_data_files_outside_the_folder_are_refused(named: str, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.raw").symlink_to(tmp_path / "secret.raw")
    with pytest.raises(CorruptFile, match="outside"):
        read(mha(inside / "a.mhd", b"", ElementDataFile=named))


def test_lies_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    with pytest.raises(CorruptFile, match="stored bytes"):
        read(mha(path, RAW, DimSize="20000 30000 40000"))
    with pytest.raises(CorruptFile, match="at most"):
        read(mha(path, zlib.compress(RAW), CompressedData="True", DimSize="2000 3000 4000"))
    with pytest.raises(CorruptFile, match=r"no end|ends after"):
        read(mha(path, zlib.compress(RAW)[:-8], CompressedData="True"))
    with pytest.raises(CorruptFile, match="3 finite numbers"):
        read(mha(path, RAW, Offset="1 2"))
    with pytest.raises(CorruptFile, match="invertible"):
        read(mha(path, RAW, ElementSpacing="1 0 1"))
    with pytest.raises(UnsupportedFormat, match="MET_STRING"):
        read(mha(path, RAW, ElementType="MET_STRING"))
    path.write_bytes(b"ObjectType = Image\nNDims = 3\n")
    with pytest.raises(CorruptFile, match="ElementDataFile"):
        read(path)


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    affine = OBLIQUE.affine.copy()
    affine[:3, 0] += [0.0, 0.9, 0.0]
    with pytest.raises(WriteError, match="right angles"):
        write(Image(some((5, 6, 7)).data, Grid((5, 6, 7), affine)), tmp_path / "a.mha")
    with pytest.raises(WriteError, match="echo"):
        write(some((2, 2, 5, 6, 7), "int16", Axis("echo"), Axis("b")), tmp_path / "a.mha")
    assert not list(tmp_path.iterdir())


def test_real_files_agree_with_simpleitk(data: Path) -> None:
    folder = data / "itkelastix_reg" / "examples" / "data"
    for name in ("CT_2D_head_moving.mha", "CT_3D_lung_fixed_mask.mha"):
        image, other = read(folder / name), SimpleITK.ReadImage(folder / name)
        assert np.array_equal(SimpleITK.GetArrayFromImage(other).reshape(image.shape), image.data)
        assert np.allclose(other.GetSpacing(), image.grid.spacing[::-1][: other.GetDimension()])
