"""Planted copies are found whatever was done to them, others are not; from the command line."""

import io
import json

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.io import write
from somascope.learn.datasets import open_dataset
from somascope.learn.leaks import checked
from tests.learn import worlds


def scene(seed, *, size=96):
    """One of many pictures of one kind: the same frame, other things in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    values = 80 + 60 * np.exp(-(((x - 0.5) / 0.35) ** 2 + ((y - 0.5) / 0.4) ** 2))
    for _ in range(8):
        cy, cx, r = *rng.uniform(0.2, 0.8, 2), rng.uniform(0.04, 0.15)
        values += rng.uniform(-50, 70) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2)
    return np.clip(values + rng.normal(0, 3, values.shape), 0, 255).astype(np.uint8)


def encoded(picture, **how):
    buffer = io.BytesIO()
    picture.save(buffer, **how)
    return buffer.getvalue()


def planted():
    """What copies are made of, by the name of what was done."""
    return {
        "equal": lambda p: encoded(p, format="PNG"),
        "resized": lambda p: encoded(p.resize((61, 61), Picture.Resampling.BICUBIC), format="PNG"),
        "larger": lambda p: encoded(p.resize((150, 150)), format="PNG"),
        "JPEG": lambda p: encoded(p, format="JPEG", quality=40),
        "mirrored": lambda p: encoded(p.transpose(Picture.Transpose.FLIP_LEFT_RIGHT), format="PNG"),
        "turned": lambda p: encoded(p.transpose(Picture.Transpose.ROTATE_90), format="PNG"),
        "all": lambda p: encoded(
            p.transpose(Picture.Transpose.FLIP_TOP_BOTTOM).resize((70, 70)), format="JPEG",
            quality=60,
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("leaks")
    for i in range(40):
        kind, split = ("a", "b")[i % 2], "train" if i < 28 else "test"
        (root / split / kind).mkdir(parents=True, exist_ok=True)
        (root / split / kind / f"{split}{i:02d}.png").write_bytes(
            encoded(Picture.fromarray(scene(i)), format="PNG")
        )
    wanted = {}
    for i, (name, made) in enumerate(planted().items()):
        suffix = "jpg" if name in ("JPEG", "all") else "png"
        copy = f"test/{'ab'[i % 2]}/{name}.{suffix}"
        (root / copy).write_bytes(made(Picture.fromarray(scene(i))))
        wanted[copy] = f"train/{'ab'[i % 2]}/train{i:02d}.png"
    (root / "train" / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    return root, wanted


def test_every_planted_copy_and_no_other(folder):
    root, wanted = folder
    found = checked(open_dataset(root, "classify"))
    pairs = {tuple(sorted((c.first, c.second))): c for c in found.copies}
    assert set(pairs) == {tuple(sorted(p)) for p in wanted.items()}
    assert {c.across for c in found.copies} == {"test and train"}
    told = {next(n for n in (c.first, c.second) if n in wanted): c.how for c in found.copies}
    assert told["test/a/equal.png"] == "equal"
    assert told["test/b/resized.png"] == "alike"
    assert told["test/a/mirrored.png"] == "mirrored left to right"
    assert "turned" in told["test/b/turned.png"]
    assert told["test/a/all.jpg"] == "mirrored top to bottom"
    ((broken, reason),) = found.problems
    assert "broken.png" in broken
    assert "broken.png" in reason


def test_from_the_command_line_with_pictures(folder, tmp_path):
    root, wanted = folder
    call = ["duplicates", "classify", str(root), "-o", str(tmp_path / "report")]
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 1
    assert f"{len(wanted)} across parts" in run.output
    text = (tmp_path / "report" / "duplicates.html").read_text()
    assert text.count("data:image/png") == 2 * len(wanted)
    told = json.loads((tmp_path / "report" / "duplicates.json").read_text())
    assert len(told["copies"]) == len(wanted)
    clean = tmp_path / "clean"
    for i in range(6):
        (clean / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Picture.fromarray(scene(100 + i)).save(clean / "ab"[i % 2] / f"{i}.png")
    run = CliRunner().invoke(app, ["duplicates", "classify", str(clean), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)["copies"] == []


def test_volumes_mirrored_and_stored_otherwise(tmp_path):
    root = worlds.decathlon(tmp_path / "set", count=8)
    data = open_dataset(root, "segment")
    image = data.cases[2].image()
    flipped = np.ascontiguousarray(image.data[:, :, ::-1])
    write(type(image)(flipped, image.grid, "MR"), root / "imagesTr" / "ball_006.nii.gz")
    other = data.cases[3].image()
    turned = other.crop(start=(0, 0, 0), stop=other.grid.shape)
    write(turned, root / "imagesTr" / "ball_007.nii.gz")
    found = checked(open_dataset(root, "segment")).copies
    assert {(c.first, c.second) for c in found} == {
        ("ball_002", "ball_006"), ("ball_003", "ball_007"),
    }  # fmt: skip
    assert all(c.across == "two patients" for c in found)


def test_a_patient_in_two_parts_is_told(tmp_path):
    for split, scans in (("train", range(8)), ("test", range(6, 12))):
        for i in scans:
            for kind in "ab":
                path = tmp_path / split / kind / f"P{i}-{split}-{kind}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = 500 + 4 * i + 2 * (split == "test") + (kind == "b")
                Picture.fromarray(scene(seed)).save(path)
    found = checked(open_dataset(tmp_path, "classify"))
    assert {p for p, _ in found.shared} >= {"a P6", "a P7"}
