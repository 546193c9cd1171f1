"""PNG, JPEG and TIFF against Pillow, tifffile and SimpleITK; stacks, spacings and bombs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import skimage
import tifffile
from PIL import Image as Pillow

from somascope.core import Axis, Grid, Image
from somascope.core.errors import CorruptFile, ParameterError, WriteError
from somascope.io import raster, read, read_all, write

PACKAGED = Path(skimage.__file__).parent / "data"
RNG = np.random.default_rng(4)


def gray(shape: tuple[int, ...], dtype: str = "uint8") -> Image:
    top = 255 if dtype == "uint8" else 60000
    return Image(
        RNG.integers(0, top, shape).astype(dtype), Grid.from_spacing(shape[-3:], (2, 0.5, 0.25))
    )


def colour(dtype: str = "uint8", nz: int = 1) -> Image:
    values = RNG.integers(0, 255 if dtype == "uint8" else 60000, (3, nz, 20, 30)).astype(dtype)
    return Image(values, Grid.from_spacing((nz, 20, 30), (2, 0.5, 0.25)), axes=(Axis("channel"),))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_keeps_every_bit(dtype: str, tmp_path: Path) -> None:
    for image in (gray((1, 20, 30), dtype), colour(dtype)):
        write(image, tmp_path / "a.png")
        back = read(tmp_path / "a.png")
        assert isinstance(back, Image)
        assert back.data.dtype == image.data.dtype
        assert np.array_equal(back.data, image.data)
        assert back.axes == image.axes
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.png"))
        expected = np.moveaxis(image.data[:, 0], 0, -1) if image.axes else image.data[0]
        assert np.array_equal(other, expected)


def test_jpeg_is_close_and_right_side_up(tmp_path: Path) -> None:
    x = np.mgrid[0:64, 0:96][1]
    image = Image((x * 2)[None].astype(np.uint8), Grid.from_spacing((1, 64, 96), (1, 1, 1)))
    write(image, tmp_path / "a.jpg")
    assert np.abs(read(tmp_path / "a.jpg").data.astype(int) - image.data).max() <= 4


def test_packaged_pictures_agree_with_pillow() -> None:
    for name in ("retina.jpg", "ihc.png", "camera.png", "microaneurysms.png"):
        image = read(PACKAGED / name)
        with Pillow.open(PACKAGED / name) as other:
            expected = np.asarray(other)
        ours = np.moveaxis(image.data[:, 0], 0, -1) if image.axes else image.data[0]
        assert np.array_equal(ours, expected), name
        assert image.grid.spacing == (1, 1, 1)


def test_palette_transparency_and_one_bit(tmp_path: Path) -> None:
    rgb = RNG.integers(0, 255, (8, 9, 3), np.uint8)
    alpha = RNG.integers(0, 255, (8, 9, 1), np.uint8)
    Pillow.fromarray(np.concatenate([rgb, alpha], -1)).save(tmp_path / "a.png")
    on_black = np.rint(rgb * (alpha / 255.0)).astype(np.uint8)
    assert (
        np.abs(np.moveaxis(read(tmp_path / "a.png").data[:, 0], 0, -1).astype(int) - on_black).max()
        <= 1
    )
    palette = Pillow.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "p.png")
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(np.moveaxis(read(tmp_path / "p.png").data[:, 0], 0, -1), expected)
    Pillow.fromarray(rgb[..., 0] > 127).save(tmp_path / "b.png")
    assert np.array_equal(read(tmp_path / "b.png").data[0], np.where(rgb[..., 0] > 127, 255, 0))


def test_exif_turns_are_applied(tmp_path: Path) -> None:
    values = np.zeros((16, 32), np.uint8)
    values[:, 16:] = 255
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    Pillow.fromarray(values).save(tmp_path / "e.jpg", exif=exif)
    turned = read(tmp_path / "e.jpg").data[0]
    assert turned.shape == (32, 16)
    assert turned[:12].max() < 20
    assert turned[20:].min() > 235


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", "int64"]
)
def test_tiff_stacks_keep_values(dtype: str, tmp_path: Path) -> None:
    image = gray((4, 20, 30), dtype)
    write(image, tmp_path / "a.tif")
    back = read(tmp_path / "a.tif")
    assert isinstance(back, Image)
    assert back.data.dtype == image.data.dtype
    assert np.array_equal(back.data, image.data)
    if dtype != "int64":
        assert back.grid.spacing == pytest.approx((2, 0.5, 0.25))
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif").reshape(4, 20, 30), image.data)


def test_tiff_colour_and_time(tmp_path: Path) -> None:
    write(colour(nz=4), tmp_path / "c.tif")
    assert read(tmp_path / "c.tif").axis_names == ("channel", "z", "y", "x")
    cine = Image(
        RNG.integers(0, 255, (5, 1, 20, 30)).astype(np.uint8),
        Grid.from_spacing((1, 20, 30), (1, 1, 1)),
        axes=(Axis("t", (0.0, 0.5, 1.0, 1.5, 2.0), "s"),),
    )
    write(cine, tmp_path / "t.tif")
    back = read(tmp_path / "t.tif")
    assert back.axes == cine.axes
    assert np.array_equal(back.data, cine.data)


def test_imagej_spacing_is_taken(tmp_path: Path) -> None:
    values = RNG.integers(0, 255, (4, 20, 30)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "i.tif", values, imagej=True, resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"},
    )  # fmt: skip
    assert read(tmp_path / "i.tif").grid.spacing == pytest.approx((3e-3, 0.5e-3, 0.25e-3))


def test_print_resolution_is_not_anatomy(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "d.tif", np.zeros((20, 30), np.uint8), resolution=(300, 300), resolutionunit=2
    )
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "d.png", dpi=(300, 300))
    assert read(tmp_path / "d.tif").grid.spacing == (1, 1, 1)
    assert read(tmp_path / "d.png").grid.spacing == (1, 1, 1)


def test_white_is_zero_and_palette_tiffs(tmp_path: Path) -> None:
    values = RNG.integers(0, 255, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "w.tif", values, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "w.tif").data[0], 255 - values)


def test_numbered_pictures_are_one_volume(tmp_path: Path) -> None:
    volume = gray((12, 20, 30))
    for k in range(12):
        write(volume.crop(start=(k, 0, 0), stop=(k + 1, 20, 30)), tmp_path / f"slice{k}.png")
    (tmp_path / "notes.txt").write_text("made on a Tuesday")
    back = read(tmp_path)
    assert isinstance(back, Image)
    assert np.array_equal(back.data, volume.data)
    paths = raster.numbered(sorted(tmp_path.glob("*.png")))[0]
    assert raster.stack(paths, spacing=(2, 0.5, 0.25)).grid.spacing == (2, 0.5, 0.25)
    assert read_all(tmp_path).skipped == ["notes.txt"]


def test_uneven_numbers_are_pictures_of_their_own(tmp_path: Path) -> None:
    for k in (16, 27, 64):
        write(gray((1, 20, 30)), tmp_path / f"r{k}.png")
    images = read(tmp_path)
    assert isinstance(images, list)
    assert [i.provenance.sources[0].name for i in images] == ["r16.png", "r27.png", "r64.png"]


def test_slices_that_differ_are_told(tmp_path: Path) -> None:
    write(gray((1, 20, 30)), tmp_path / "s1.png")
    write(gray((1, 20, 31)), tmp_path / "s2.png")
    report = read_all(tmp_path)
    assert not report.images
    assert "alike" in report.problems[0][1]


def test_spacing_must_be_positive() -> None:
    with pytest.raises(ParameterError, match="positive"):
        raster.read(PACKAGED / "camera.png", spacing=(1, 0, 1))


def png_header(nx: int, ny: int, body: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", nx, ny, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_bombs_and_lies_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(60000, 60000, zlib.compress(bytes(1000))))
    with pytest.raises(CorruptFile, match="at most"):
        read(path)
    path.write_bytes(png_header(30, 20, zlib.compress(bytes(31 * 20))[:-9]))
    with pytest.raises(CorruptFile):
        read(path)
    write(gray((4, 20, 30)), tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile):
        read(tmp_path / "a.tif")


def test_what_a_picture_cannot_hold_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"process\.window"):
        write(gray((1, 20, 30), "int16"), tmp_path / "a.png")
    with pytest.raises(WriteError, match=r"\.tif"):
        write(gray((4, 20, 30)), tmp_path / "a.png")
    with pytest.raises(WriteError, match="uint8"):
        write(gray((1, 20, 30), "uint16"), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
