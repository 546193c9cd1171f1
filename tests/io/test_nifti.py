"""NIfTI against nibabel, SimpleITK and the standard's rules."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.io import read, write
from somascope.io.nifti import READER

PACKAGED = Path(nib.__file__).parent / "tests" / "data"
TURN = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
OBLIQUE = Grid.from_spacing((5, 6, 7), (3, 2, 1.5), origin=(10, -20, 30), direction=TURN @ AXIAL)


def some(shape: tuple[int, ...], dtype: str = "int16", *axes: Axis, grid: Grid = OBLIQUE) -> Image:
    rng = np.random.default_rng(3)
    if np.dtype(dtype).kind == "c":
        data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    elif np.dtype(dtype).kind == "f":
        data = rng.standard_normal(shape).astype(dtype)
    else:
        data = rng.integers(0, 120, shape).astype(dtype)
    return Image(data, grid, axes=axes)


def ras(grid: Grid) -> np.ndarray:
    """The NIfTI affine, written out by hand: columns x, y, z and two signs turned."""
    a = grid.affine
    return np.array(
        [
            [-a[0, 2], -a[0, 1], -a[0, 0], -a[0, 3]],
            [-a[1, 2], -a[1, 1], -a[1, 0], -a[1, 3]],
            [a[2, 2], a[2, 1], a[2, 0], a[2, 3]],
            [0, 0, 0, 1],
        ]
    )


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
     "complex64", "complex128"],
)  # fmt: skip
def test_every_dtype_comes_back_and_nibabel_agrees(name: str, dtype: str, tmp_path: Path) -> None:
    image = some((5, 6, 7), dtype)
    write(image, tmp_path / name)
    back = read(tmp_path / name)
    assert isinstance(back, Image)
    assert back.data.dtype == image.data.dtype
    assert np.array_equal(back.data, image.data)
    assert np.abs(back.grid.affine - OBLIQUE.affine).max() < 1e-5
    other = nib.load(tmp_path / name)
    assert np.array_equal(np.asarray(other.dataobj).T, image.data)
    assert np.allclose(other.affine, ras(OBLIQUE), atol=1e-5)
    assert np.allclose(other.get_qform(coded=True)[0], ras(OBLIQUE), atol=1e-4)
    assert (int(other.header["qform_code"]), int(other.header["sform_code"])) == (1, 1)
    assert other.header.get_xyzt_units()[0] == "mm"


def test_simpleitk_sees_the_same_place(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "a.nii.gz")
    other = SimpleITK.ReadImage(tmp_path / "a.nii.gz")
    for zyx in [(0, 0, 0), (4, 5, 6), (1, 0, 3)]:
        there = other.TransformIndexToPhysicalPoint(tuple(reversed(zyx)))
        assert np.allclose(there, OBLIQUE.to_world(zyx), atol=1e-4)
        assert other[tuple(reversed(zyx))] == some((5, 6, 7)).data[zyx]


def test_a_file_of_simpleitk_is_read(tmp_path: Path) -> None:
    image = some((5, 6, 7))
    other = SimpleITK.GetImageFromArray(image.data)
    other.SetOrigin(OBLIQUE.origin)
    other.SetSpacing(OBLIQUE.spacing[::-1])
    other.SetDirection(OBLIQUE.direction[:, ::-1].ravel().tolist())
    SimpleITK.WriteImage(other, tmp_path / "s.nii.gz")
    back = read(tmp_path / "s.nii.gz")
    assert isinstance(back, Image)
    assert np.array_equal(back.data, image.data)
    assert back.grid.allclose(OBLIQUE, tolerance_mm=1e-4)


def test_a_voxel_on_the_patients_left_has_negative_x_in_ras(tmp_path: Path) -> None:
    """The one sign that must never be wrong, without any program in between."""
    grid = Grid.from_spacing((1, 1, 3), (1, 1, 10), origin=(-10, 0, 0))
    write(Image(np.array([[[0, 0, 9]]], np.uint8), grid), tmp_path / "l.nii")
    raw = (tmp_path / "l.nii").read_bytes()
    srow = np.frombuffer(raw[280:328], "<f4").reshape(3, 4)
    assert srow @ [2, 0, 0, 1] == pytest.approx([-10, 0, 0])
    assert raw[352 + 2] == 9
    assert read(tmp_path / "l.nii").grid.to_world((0, 0, 2)) == pytest.approx([10, 0, 0])


def test_shear_goes_to_the_sform_only(tmp_path: Path) -> None:
    affine = OBLIQUE.affine.copy()
    affine[:3, 0] += [0.0, 0.9, 0.0]
    sheared = Grid((5, 6, 7), affine)
    write(some((5, 6, 7), grid=sheared), tmp_path / "t.nii")
    header = nib.load(tmp_path / "t.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)
    assert np.abs(read(tmp_path / "t.nii").grid.affine - affine).max() < 1e-5


def header_file(path: Path, **fields: object) -> Path:
    """A 2x3x4 int16 file with header fields as given."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((4, 3, 2))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["pixdim"][1:5] = [1.5, 2, 3, 2.5]
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + bytes(4) + np.arange(24, dtype="<i2").tobytes())
    return path


def test_method_2_the_quaternion(tmp_path: Path) -> None:
    b, c, d = Rotation.from_matrix(TURN).as_quat()[:3] * np.sign(
        Rotation.from_matrix(TURN).as_quat()[3]
    )
    for qfac in (1.0, -1.0):
        path = header_file(
            tmp_path / "q.nii", qform_code=1, quatern_b=b, quatern_c=c, quatern_d=d,
            qoffset_x=5, qoffset_y=6, qoffset_z=7, pixdim=[qfac, 1.5, 2, 3, 0, 0, 0, 0],
        )  # fmt: skip
        expected = np.eye(4)
        expected[:3, :3] = TURN @ np.diag([1.5, 2, 3 * qfac])
        expected[:3, 3] = [5, 6, 7]
        assert np.allclose(ras(read(path).grid), expected, atol=1e-5)
        assert np.allclose(nib.load(path).affine, expected, atol=1e-5)


def test_method_3_wins_over_method_2(tmp_path: Path) -> None:
    path = header_file(
        tmp_path / "s.nii", qform_code=1, quatern_b=1.0, sform_code=2,
        srow_x=[2, 0, 0, -4], srow_y=[0, 2, 0, -5], srow_z=[0, 0, 2, -6],
    )  # fmt: skip
    assert np.allclose(
        ras(read(path).grid), [[2, 0, 0, -4], [0, 2, 0, -5], [0, 0, 2, -6], [0, 0, 0, 1]]
    )


def test_method_1_voxel_sizes_alone(tmp_path: Path) -> None:
    assert np.allclose(ras(read(header_file(tmp_path / "p.nii")).grid), np.diag([1.5, 2, 3, 1]))


def test_a_singular_sform_falls_back_to_the_qform(tmp_path: Path) -> None:
    path = header_file(tmp_path / "z.nii", sform_code=1, qform_code=1)
    assert np.allclose(read(path).grid.spacing, (3, 2, 1.5))


@pytest.mark.parametrize(("code", "scale"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_length_units(code: int, scale: float, tmp_path: Path) -> None:
    path = header_file(tmp_path / "u.nii", xyzt_units=code)
    assert np.allclose(read(path).grid.spacing, np.array([3, 2, 1.5]) * scale)


@pytest.mark.parametrize(("code", "step"), [(8, 2.5), (16, 2.5e-3), (24, 2.5e-6)])
def test_time_units(code: int, step: float, tmp_path: Path) -> None:
    path = header_file(
        tmp_path / "t.nii", xyzt_units=2 | code, dim=[4, 2, 3, 2, 2, 1, 1, 1], toffset=1
    )
    image = read(path)
    assert image.axis_names == ("t", "z", "y", "x")
    assert image.axes[0].values == pytest.approx((step / 2.5, step / 2.5 + step))
    assert image.axes[0].unit == "s"


@pytest.mark.parametrize(
    ("slope", "inter", "dtype"),
    [(1, 0, "int16"), (0, 5, "int16"), (2, -1024, "int16"), (5000, 7, "int32"),
     (0.5, 0.25, "float32"),
     (float("nan"), 0, "int16")],
)  # fmt: skip
def test_scaling_is_exact_and_integers_stay(
    slope: float, inter: float, dtype: str, tmp_path: Path
) -> None:
    path = header_file(tmp_path / "s.nii", scl_slope=slope, scl_inter=inter)
    image = read(path)
    raw = np.arange(24).reshape(2, 3, 4)
    expected = raw * slope + inter if np.isfinite(slope) and slope else raw
    assert image.data.dtype == dtype
    assert np.array_equal(image.data, expected)


def test_time_axis_and_its_place(tmp_path: Path) -> None:
    image = some((4, 5, 6, 7), "float32", Axis("t", (0.5, 3.0, 5.5, 8.0), "s"))
    write(image, tmp_path / "f.nii.gz")
    back, other = read(tmp_path / "f.nii.gz"), nib.load(tmp_path / "f.nii.gz")
    assert back.axes == image.axes
    assert np.array_equal(back.data, image.data)
    assert other.header.get_zooms()[3] == pytest.approx(2.5)
    assert other.header.get_xyzt_units() == ("mm", "sec")


def test_time_stays_the_fourth_dimension(tmp_path: Path) -> None:
    image = some(
        (4, 2, 5, 6, 7),
        "int16",
        Axis("t", (0.0, 1.0, 2.0, 3.0), "s"),
        Axis("echo", (10.0, 20.0), "ms"),
    )
    write(image, tmp_path / "e.nii")
    assert nib.load(tmp_path / "e.nii").shape == (7, 6, 5, 4, 2)
    assert np.array_equal(read(tmp_path / "e.nii").data, np.moveaxis(image.data, 0, 1))


def test_colour(tmp_path: Path) -> None:
    image = some((3, 5, 6, 7), "uint8", Axis("channel"))
    write(image, tmp_path / "c.nii")
    assert np.array_equal(read(tmp_path / "c.nii").data, image.data)
    assert read(tmp_path / "c.nii").axis_names == ("channel", "z", "y", "x")
    other = np.asarray(nib.load(tmp_path / "c.nii").dataobj)
    assert np.array_equal(other["G"].T, image.data[1])
    with pytest.raises(WriteError, match="uint8"):
        write(some((3, 5, 6, 7), "uint16", Axis("channel")), tmp_path / "c.nii")


def test_vectors_are_the_fifth_dimension(tmp_path: Path) -> None:
    image = some((3, 5, 6, 7), "float32", Axis("component"))
    write(image, tmp_path / "v.nii")
    assert nib.load(tmp_path / "v.nii").shape == (7, 6, 5, 1, 3)
    back = read(tmp_path / "v.nii")
    assert back.axis_names == ("component", "z", "y", "x")
    assert np.array_equal(back.data, image.data)


def test_long_axes_make_nifti_2(tmp_path: Path) -> None:
    grid = Grid.from_spacing((1, 1, 40000), (1, 1, 0.1))
    write(Image(np.arange(40000, dtype=np.uint16).reshape(1, 1, -1), grid), tmp_path / "l.nii")
    assert isinstance(nib.load(tmp_path / "l.nii"), nib.Nifti2Image)
    assert read(tmp_path / "l.nii").data[0, 0, -1] == 39999


def test_masks_are_written_as_labels(tmp_path: Path) -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[2, 3, 4] = 7
    write(Mask(data=labels, grid=OBLIQUE, segments=(Segment(7, "seven"),)), tmp_path / "m.nii.gz")
    assert int(nib.load(tmp_path / "m.nii.gz").header["intent_code"]) == 1002
    assert np.array_equal(read(tmp_path / "m.nii.gz").data, labels)


def test_facts_from_the_side_car(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "sub_T1w.nii.gz")
    (tmp_path / "sub_T1w.json").write_text(json.dumps({"Modality": "MR", "EchoTime": 0.0046}))
    image = read(tmp_path / "sub_T1w.nii.gz")
    assert image.modality == "MR"
    assert image.attributes["EchoTime"] == pytest.approx(4.6)


def test_b_values_beside_make_the_axis_b(tmp_path: Path) -> None:
    write(some((3, 5, 6, 7), "int16", Axis("t")), tmp_path / "dwi.nii")
    (tmp_path / "dwi.bval").write_text("0 1000 1000\n")
    assert read(tmp_path / "dwi.nii").axes == (Axis("b", (0.0, 1000.0, 1000.0), "s/mm2"),)


@pytest.mark.parametrize(
    "name", ["example4d.nii.gz", "anatomical.nii", "functional.nii", "example_nifti2.nii.gz"]
)
def test_packaged_files_agree_with_nibabel(name: str) -> None:
    image, other = read(PACKAGED / name), nib.load(PACKAGED / name)
    expected = np.asarray(other.dataobj)
    assert np.allclose(image.data, expected.T.reshape(image.shape), rtol=1e-6)
    assert np.allclose(ras(image.grid), other.affine, atol=1e-4)


def test_a_pair_of_hdr_and_img(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.diag([1.5, 2, 3, 1]))
    nib.save(image, tmp_path / "p.hdr")
    for name in ("p.hdr", "p.img"):
        assert np.array_equal(read(tmp_path / name).data, np.asarray(image.dataobj).T)
    assert isinstance(read(tmp_path), Image)
    (tmp_path / "p.img").unlink()
    with pytest.raises(CorruptFile, match="beside"):
        read(tmp_path / "p.hdr")


def test_big_endian(tmp_path: Path) -> None:
    image = nib.Nifti1Image(
        np.arange(24, dtype=">i2").reshape(4, 3, 2), np.eye(4), nib.Nifti1Header(endianness=">")
    )
    nib.save(image, tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    back = read(tmp_path / "b.nii")
    assert back.data.dtype.isnative
    assert np.array_equal(back.data.ravel(), np.asarray(image.dataobj).T.ravel())


def test_the_suffix_decides_nothing(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "a.nii.gz")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    assert np.array_equal(read(tmp_path / "b.dcm").data, some((5, 6, 7)).data)


def patched(path: Path, at: int, value: bytes) -> Path:
    raw = bytearray(path.read_bytes())
    raw[at : at + len(value)] = value
    path.write_bytes(raw)
    return path


def test_lies_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = patched(header_file(tmp_path / "d.nii"), 40, struct.pack("<8h", 7, *[32767] * 7))
    with pytest.raises(CorruptFile, match="stored bytes"):
        read(path)
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(CorruptFile, match="at most"):
        read(bomb)


def test_truncated_and_damaged(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "a.nii.gz")
    whole = (tmp_path / "a.nii.gz").read_bytes()
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole[:-30])
    with pytest.raises(CorruptFile):
        read(cut)
    wrong = bytearray(whole)
    wrong[-6] ^= 1
    cut.write_bytes(wrong)
    with pytest.raises(CorruptFile, match="check sum"):
        read(cut)
    with pytest.raises(CorruptFile, match="start at byte"):
        read(header_file(tmp_path / "o.nii", vox_offset=352.5))
    with pytest.raises(CorruptFile, match="positive"):
        read(header_file(tmp_path / "n.nii", dim=[3, -4, 3, 2, 1, 1, 1, 1]))


def test_analyze_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = patched(header_file(tmp_path / "a.hdr"), 344, bytes(4))
    assert not READER.matches(path.read_bytes()[:4096], path)
    with pytest.raises(UnsupportedFormat, match="which side is left"):
        READER.read(path)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "a.nii")
    before = (tmp_path / "a.nii").read_bytes()
    with pytest.raises(WriteError):
        write(some((3, 5, 6, 7), "uint16", Axis("channel")), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


def test_equal_images_give_equal_files(tmp_path: Path) -> None:
    write(some((5, 6, 7)), tmp_path / "a.nii.gz")
    write(some((5, 6, 7)), tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_real_files_agree_with_nibabel(data: Path) -> None:
    names = (
        "avg152T1_LR_nifti.nii.gz",
        "avg152T1_LR_nifti2.nii.gz",
        "5D_zeros.nii.gz",
        "big.nii.gz",
    )
    for name in names:
        path = data / "niftireader_data" / name
        image, other = read(path), nib.load(path)
        assert np.allclose(ras(image.grid), other.affine, atol=1e-4), name
        assert np.allclose(image.data, np.asarray(other.dataobj).T.reshape(image.shape)), name
