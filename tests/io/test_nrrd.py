"""NRRD against SimpleITK and hand-written headers."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.io import read, read_all, write

TURN = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
OBLIQUE = Grid.from_spacing((5, 6, 7), (3, 2, 1.5), origin=(10, -20, 30), direction=TURN @ AXIAL)
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES += ["float32", "float64"]


def some(shape: tuple[int, ...], dtype: str = "int16", *axes: Axis) -> Image:
    values = np.random.default_rng(3).integers(0, 120, shape).astype(dtype)
    return Image(values, OBLIQUE, modality="MR", unit="ms", axes=axes)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_simpleitk_agrees(name: str, dtype: str, tmp_path: Path) -> None:
    image = some((5, 6, 7), dtype)
    write(image, tmp_path / name)
    back = read(tmp_path / name)
    assert isinstance(back, Image)
    assert back.data.dtype == image.data.dtype
    assert np.array_equal(back.data, image.data)
    assert np.array_equal(back.grid.affine, OBLIQUE.affine)
    assert (back.modality, back.unit) == ("MR", "ms")
    other = SimpleITK.ReadImage(tmp_path / name)
    assert np.array_equal(SimpleITK.GetArrayFromImage(other), image.data)
    for zyx in [(0, 0, 0), (4, 5, 6), (1, 0, 3)]:
        there = other.TransformIndexToPhysicalPoint(tuple(reversed(zyx)))
        assert np.allclose(there, OBLIQUE.to_world(zyx), atol=1e-9)


def test_a_file_of_simpleitk_is_read(tmp_path: Path) -> None:
    image = some((5, 6, 7))
    other = SimpleITK.GetImageFromArray(image.data)
    other.SetOrigin(OBLIQUE.origin)
    other.SetSpacing(OBLIQUE.spacing[::-1])
    other.SetDirection(OBLIQUE.direction[:, ::-1].ravel().tolist())
    for packed in (True, False):
        SimpleITK.WriteImage(other, tmp_path / "s.nrrd", packed)
        back = read(tmp_path / "s.nrrd")
        assert isinstance(back, Image)
        assert np.array_equal(back.data, image.data)
        assert back.grid.allclose(OBLIQUE, tolerance_mm=1e-9)


def nrrd(path: Path, body: bytes, **fields: str) -> Path:
    """A file with a header as given; underscores in names are spaces."""
    given = {
        "type": "short", "dimension": "3", "sizes": "2 3 4", "encoding": "raw", "endian": "little",
        **fields,
    }  # fmt: skip
    lines = ["NRRD0004", "# made by hand"]
    lines += [f"{k.replace('_', ' ')}: {v}" for k, v in given.items() if v is not None]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + body)
    return path


VALUES = np.arange(24, dtype="<i2").reshape(4, 3, 2)
RAW = VALUES.tobytes()
STEPS = "(1.5,0,0) (0,2,0) (0,0,3)"


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (1, 1, 1)), ("LPS", (1, 1, 1)),
     ("right-anterior-superior", (-1, -1, 1)), ("RAS", (-1, -1, 1)),
     ("left-anterior-superior", (1, -1, 1)), ("LAS", (1, -1, 1)), ("scanner-xyz", (1, 1, 1))],
)  # fmt: skip
def test_spaces_are_turned_to_lps(space: str, signs: tuple[int, ...], tmp_path: Path) -> None:
    path = nrrd(
        tmp_path / "a.nrrd", RAW, space=space, space_directions=STEPS, space_origin="(5,6,7)"
    )
    image = read(path)
    world = image.grid.to_world([(0, 0, 0), (1, 1, 1)])
    assert np.allclose(world, np.array([[5, 6, 7], [6.5, 8, 10]]) * signs)
    if len(space) > 3 and space != "scanner-xyz":
        other = SimpleITK.ReadImage(path)
        assert np.allclose(other.TransformIndexToPhysicalPoint((1, 1, 1)), world[1])


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "bz2", "text", "ascii", "txt"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    body = {
        "raw": RAW, "gz": gzip.compress(RAW), "bz": bz2.compress(RAW),
        "te": " ".join(map(str, VALUES.ravel())).encode(),
    }[{"asc": "te", "txt": "te", "raw": "raw"}.get(encoding[:3], encoding[:2])]  # fmt: skip
    assert np.array_equal(read(nrrd(tmp_path / "a.nrrd", body, encoding=encoding)).data, VALUES)


def test_byte_order_and_skips(tmp_path: Path) -> None:
    big = VALUES.astype(">i2").tobytes()
    assert np.array_equal(read(nrrd(tmp_path / "a.nrrd", big, endian="big")).data, VALUES)
    skipped = nrrd(tmp_path / "b.nrrd", b"one\ntwo\nxyz" + RAW, line_skip="2", byte_skip="3")
    assert np.array_equal(read(skipped).data, VALUES)
    last = nrrd(tmp_path / "c.nrrd", b"whatever comes first" + RAW, byte_skip="-1")
    assert np.array_equal(read(last).data, VALUES)


def test_spacings_without_a_space(tmp_path: Path) -> None:
    image = read(nrrd(tmp_path / "a.nrrd", RAW, spacings="1.5 2 3", axis_mins="5 6 7"))
    assert np.allclose(image.grid.to_world([(0, 0, 0), (1, 1, 1)]), [[5, 6, 7], [6.5, 8, 10]])


def test_space_units(tmp_path: Path) -> None:
    path = nrrd(
        tmp_path / "a.nrrd", RAW, space="LPS", space_directions=STEPS, space_units='"um" "um" "um"'
    )
    assert np.allclose(read(path).grid.spacing, (3e-3, 2e-3, 1.5e-3))


def test_two_dimensions_in_three(tmp_path: Path) -> None:
    path = nrrd(
        tmp_path / "a.nrrd", RAW[:12], dimension="2", sizes="2 3", space="LPS",
        space_directions="(0,1.5,0) (0,0,-2)", space_origin="(5,6,7)",
    )  # fmt: skip
    image = read(path)
    assert image.shape == (1, 3, 2)
    assert np.allclose(image.grid.to_world((0, 1, 1)), (5, 7.5, 5))
    assert image.grid.spacing == pytest.approx((1, 2, 1.5))


@pytest.mark.parametrize("where", [0, 3])
def test_time_first_or_last(where: int, tmp_path: Path) -> None:
    """Slicer writes the list axis first, others last."""
    sizes, steps, spacings = ["3", "4", "5"], STEPS.split(), ["nan"] * 3
    units, kinds = ['""'] * 3, ["space"] * 3
    for items, item in (
        (sizes, "2"),
        (steps, "none"),
        (spacings, "2.5"),
        (units, '"s"'),
        (kinds, "time"),
    ):
        items.insert(where, item)
    values = np.arange(120, dtype="<i2").reshape(tuple(int(n) for n in reversed(sizes)))
    path = nrrd(
        tmp_path / "a.nrrd", values.tobytes(), dimension="4", sizes=" ".join(sizes), space="LPS",
        space_directions=" ".join(steps), spacings=" ".join(spacings), units=" ".join(units),
        kinds=" ".join(kinds),
    )  # fmt: skip
    image = read(path)
    assert image.axes == (Axis("t", (0.0, 2.5), "s"),)
    assert np.array_equal(image.data, np.moveaxis(values, 3 - where, 0))
    assert np.allclose(image.grid.spacing, (3, 2, 1.5))


def test_leading_axes_come_back(tmp_path: Path) -> None:
    times, echoes = Axis("t", (0.0, 1.5, 3.0), "s"), Axis("echo", (10.0, 25.0), "ms")
    for axes, shape in (
        ((times,), (3, 5, 6, 7)),
        ((times, echoes), (3, 2, 5, 6, 7)),
        ((Axis("channel"),), (3, 5, 6, 7)),
        ((times, Axis("channel")), (3, 3, 5, 6, 7)),
    ):
        image = some(shape, "uint8", *axes)
        write(image, tmp_path / "a.nrrd")
        back = read(tmp_path / "a.nrrd")
        assert back.axes == axes
        assert np.array_equal(back.data, image.data)
        assert back.grid == OBLIQUE


def test_simpleitk_reads_times_and_colour(tmp_path: Path) -> None:
    for axis in (Axis("t", (0.0, 1.0, 2.0), "s"), Axis("channel")):
        image = some((3, 5, 6, 7), "uint8", axis)
        write(image, tmp_path / "a.nrrd")
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.nrrd"))
        assert np.array_equal(np.moveaxis(other, -1, 0), image.data)


def test_diffusion_by_the_na_mic_convention(tmp_path: Path) -> None:
    head = nrrd(tmp_path / "d.nrrd", b"", sizes="2 3 4", kinds="space space list",
                space="LPS", space_directions="(1,0,0) (0,1,0) none").read_bytes()[:-1]  # fmt: skip
    keys = "modality:=DWMRI\nDWMRI_b-value:=1000\nDWMRI_gradient_0000:=0 0 0\n"
    keys += "DWMRI_gradient_0001:=1 0 0\nDWMRI_gradient_0002:=0 0.707106781 0\n"
    keys += "DWMRI_gradient_0003:=0 0 1\n"
    (tmp_path / "d.nrrd").write_bytes(head + keys.encode() + b"\n" + RAW)
    image = read(tmp_path / "d.nrrd")
    assert image.axes[0].name == "b"
    assert image.axes[0].values == pytest.approx((0, 1000, 500, 1000))
    assert image.modality == "MR"


def test_masks_carry_their_segments_for_other_programs(tmp_path: Path) -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[2, 3, 4] = 7
    write(Mask(data=labels, grid=OBLIQUE, segments=(Segment(7, "Liver"),)), tmp_path / "m.nrrd")
    assert np.array_equal(read_all(tmp_path / "m.nrrd").masks[0].data, labels)
    other = SimpleITK.ReadImage(tmp_path / "m.nrrd")
    assert other.GetMetaData("Segment0_Name") == "Liver"
    assert other.GetMetaData("Segment0_LabelValue") == "7"


def detached(folder: Path, named: str, body: bytes = RAW) -> Path:
    return nrrd(folder / "a.nhdr", b"", data_file=named, encoding="raw") if body else folder


def test_detached_data(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(RAW)
    assert np.array_equal(read(detached(tmp_path, "a.raw")).data, VALUES)
    for i in range(4):
        (tmp_path / f"s{i + 1:02d}.raw").write_bytes(VALUES[i].tobytes())
    assert np.array_equal(read(detached(tmp_path, "s%02d.raw 1 4 1")).data, VALUES)
    header = detached(tmp_path, "LIST").read_bytes().rstrip(b"\n")
    (tmp_path / "a.nhdr").write_bytes(header + b"\ns04.raw\ns03.raw\ns02.raw\ns01.raw\n")
    assert np.array_equal(read(tmp_path / "a.nhdr").data, VALUES[::-1])


@pytest.mark.parametrize(
    "named", ["../secret.raw", "/etc/passwd", "sub/../../secret.raw", "link.raw", "."]
)
def test_data_files_outside_the_folder_are_refused(named: str, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(RAW)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.raw").symlink_to(tmp_path / "secret.raw")
    with pytest.raises(CorruptFile, match="outside"):
        read(detached(inside, named))


def test_lies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="stored bytes"):
        read(nrrd(tmp_path / "a.nrrd", RAW, sizes="20000 30000 40000"))
    with pytest.raises(CorruptFile, match="at most"):
        read(nrrd(tmp_path / "a.nrrd", gzip.compress(RAW), encoding="gzip", sizes="2000 3000 4000"))
    with pytest.raises(CorruptFile, match="dimension"):
        read(nrrd(tmp_path / "a.nrrd", RAW, dimension="4"))
    with pytest.raises(CorruptFile, match="lacks"):
        read(nrrd(tmp_path / "a.nrrd", RAW, type=None))
    with pytest.raises(CorruptFile, match="invertible"):
        read(
            nrrd(tmp_path / "a.nrrd", RAW, space="LPS", space_directions="(1,0,0) (1,0,0) (0,0,1)")
        )
    with pytest.raises(UnsupportedFormat, match="block"):
        read(nrrd(tmp_path / "a.nrrd", RAW, type="block"))
    with pytest.raises(UnsupportedFormat, match="space"):
        read(nrrd(tmp_path / "a.nrrd", RAW, space="sideways", space_directions=STEPS))
    with pytest.raises(CorruptFile, match="ends after"):
        read(nrrd(tmp_path / "a.nrrd", gzip.compress(RAW[:-4]), encoding="gzip"))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="complex"):
        write(some((5, 6, 7), "complex64"), tmp_path / "a.nrrd")


def test_real_segmentations_agree_with_simpleitk(data: Path) -> None:
    files = sorted((data / "dcmqi_data" / "segmentations").rglob("*.nrrd"))
    assert files
    for path in files[:8]:
        image, other = read(path), SimpleITK.ReadImage(path)
        assert np.array_equal(SimpleITK.GetArrayFromImage(other), image.data), path.name
        corner = tuple(n - 1 for n in other.GetSize())
        there = other.TransformIndexToPhysicalPoint(corner)
        assert np.allclose(there, image.grid.to_world(corner[::-1]), atol=1e-6), path.name
