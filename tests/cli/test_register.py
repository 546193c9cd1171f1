import json

import numpy as np
import pytest

from somascope.cli.app import app
from somascope.core import Grid, Image
from somascope.io import read, write
from somascope.io.transforms import read_warp
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
