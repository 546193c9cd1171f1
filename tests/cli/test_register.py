import json

import numpy as np
import pytest

from somascope.cli.app import app
from somascope.core import Axis, Grid, Image, Warp
from somascope.io import read, write
from somascope.io.transforms import read_warp, write_warp
from tests.analyze.register.pairs import pair

typer_testing = pytest.importorskip("typer.testing")


def run(*words):
    result = typer_testing.CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture
def folder(tmp_path):
    made = pair(angles=(0, 0, 6), shift=(5, 0, -4), shape=(24, 28, 26), spacing=(5.0, 5.0, 5.0))
    write(made.fixed, tmp_path / "fixed.nii.gz")
    write(made.moving, tmp_path / "moving.nii.gz")
    return tmp_path


@pytest.mark.parametrize(("preset", "name"), [("rigid", "warp.tfm"), (None, "warp.nii.gz")])
def test_register_and_transform_on_files(folder, preset, name):
    extra = ["--preset", preset] if preset else []
    said = json.loads(
        run(
            "register", folder / "fixed.nii.gz", folder / "moving.nii.gz", "-o", folder / name,
            "--warped", folder / "warped.nii.gz", "--json", *extra,
        )
    )  # fmt: skip
    assert said["preset"] == (preset or "deformable")
    assert said["verdict"]["trusted"] is True
    run(
        "transform", folder / name, folder / "moving.nii.gz", "--like", folder / "fixed.nii.gz",
        "-o", folder / "again.nii.gz",
    )  # fmt: skip
    fixed, warped, again = (read(folder / f"{n}.nii.gz") for n in ("fixed", "warped", "again"))
    assert np.allclose(warped.data, again.data, atol=0.02)
    assert np.corrcoef(warped.data.ravel(), fixed.data.ravel())[0, 1] > 0.93
    assert read_warp(folder / name).matrix.shape == (4, 4)


def test_pictures(tmp_path):
    made = pair(angles=(0, 0, 10), shift=(6, 4, 0), shape=(1, 80, 72), spacing=(1.0, 1.0, 1.0))
    for name, image in (("a", made.fixed), ("b", made.moving)):
        grey = np.clip(image.data * 150 + 20, 0, 255).astype(np.uint8)
        write(Image(grey, Grid.from_spacing((1, 80, 72), (1, 1, 1))), tmp_path / f"{name}.png")
    out = run(
        "register", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "w.json",
        "--preset", "rigid", "--warped", tmp_path / "c.nii.gz",
    )  # fmt: skip
    assert "rigid, trusted" in out
    a, b, c = (read(tmp_path / n) for n in ("a.png", "b.png", "c.nii.gz"))
    inner = (0, slice(12, -12), slice(12, -12))
    near = np.corrcoef(a.data[inner].ravel(), c.data[inner].ravel())[0, 1]
    assert near > 0.95 > np.corrcoef(a.data[inner].ravel(), b.data[inner].ravel())[0, 1]


def refused(match, *words):
    result = typer_testing.CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code != 0
    assert match in str(result.exception)


def test_what_cannot_be_written_is_refused_before_the_work(folder):
    two = (folder / "fixed.nii.gz", folder / "moving.nii.gz")
    for name, more, match in (
        ("w.foo", (), "names no format of maps"),
        ("w.tfm", (), "may bend"),
        ("w.mat", ("--preset", "deformable"), "deformable may bend"),
        ("w.h5", ("--fsl",), "-o NAME.mat"),
        ("w.h5", ("--warped", folder / "w.xyz"), "names no format of images"),
        ("w.h5", ("--warped", folder / "w.png"), "a picture holds one plane"),
    ):
        refused(match, "register", *two, "-o", folder / name, *more)
        assert not (folder / name).exists()


def test_flirt_and_fields_of_linear_maps(folder):
    """The same map by three roads carries the same image."""
    two = (folder / "fixed.nii.gz", folder / "moving.nii.gz")
    run("register", *two, "-o", folder / "w.mat", "--preset", "rigid", "--fsl")
    assert np.loadtxt(folder / "w.mat").shape == (4, 4)
    run("register", *two, "-o", folder / "w.nii.gz", "--preset", "rigid")
    run("register", *two, "-o", folder / "w.tfm", "--preset", "rigid")
    found = []
    for name in ("w.mat", "w.nii.gz", "w.tfm"):
        out = folder / "carried.nii.gz"
        run("transform", folder / name, two[1], "--like", two[0], "-o", out)
        found.append(read(out).data)
    assert np.allclose(found[0], found[2], atol=1e-3 * np.abs(found[2]).max())
    assert np.allclose(found[1], found[2], atol=1e-3 * np.abs(found[2]).max())


def test_pictures_come_back_as_pictures(tmp_path):
    made = pair(angles=(0, 0, 8), shift=(4, 2, 0), shape=(1, 64, 64), spacing=(1.0, 1.0, 1.0))
    grey = [np.clip(i.data * 150 + 20, 0, 255).astype(np.uint8) for i in (made.fixed, made.moving)]
    grid = Grid.from_spacing((1, 64, 64), (1, 1, 1))
    write(Image(grey[0], grid), tmp_path / "a.png")
    colours = np.stack([grey[1], grey[1] // 2, 255 - grey[1]])
    write(Image(colours, grid, axes=(Axis("channel"),)), tmp_path / "b.png")
    run("register", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "w.tfm",
        "--preset", "rigid", "--warped", tmp_path / "grey.png")  # fmt: skip
    assert read(tmp_path / "grey.png").data.dtype == np.uint8
    for name in ("c.png", "c.nii.gz"):
        run("transform", tmp_path / "w.tfm", tmp_path / "b.png", "--like", tmp_path / "a.png",
            "-o", tmp_path / name)  # fmt: skip
        image = read(tmp_path / name)
        assert image.axis_names == ("channel", "z", "y", "x")
        inside = image.data[0] > 30
        assert np.abs(image.data[0][inside] - 2.0 * image.data[1][inside]).max() <= 3


def test_maps_of_other_images_are_refused(folder):
    far = np.eye(4)
    far[:3, 3] = 5000
    write_warp(Warp(matrix=far), folder / "far.tfm")
    refused("they do not overlap", "transform", folder / "far.tfm", folder / "moving.nii.gz",
            "--like", folder / "fixed.nii.gz", "-o", folder / "x.nii.gz")  # fmt: skip
    flat = Grid.from_spacing((1, 8, 8), (1, 1, 1))
    bent = Warp(matrix=np.eye(4), grid=flat, displacement=np.ones((3, 1, 8, 8), np.float32))
    write_warp(bent, folder / "flat.h5")
    refused("maps slices", "transform", folder / "flat.h5", folder / "moving.nii.gz",
            "--like", folder / "fixed.nii.gz", "-o", folder / "x.nii.gz")  # fmt: skip
