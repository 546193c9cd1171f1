"""Data sets as strangers have them: what is read, and what is said of what is not."""

import json

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.learn.datasets import open_dataset
from tests.learn import worlds


def test_arrays_without_splits(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 255, (6, 8, 8, 3), np.uint8),
             labels=np.arange(6) % 3)  # fmt: skip
    data = open_dataset(tmp_path / "a.npz", "classify")
    assert data.classes == ("0", "1", "2")
    assert [c.label for c in data.cases] == [0, 1, 2] * 2
    assert {c.split for c in data.cases} == {""}


@pytest.mark.parametrize(("arrays", "said"), [
    ({"train_images": np.zeros((3, 4, 4))}, "no train_labels"),
    ({"train_images": np.zeros((3, 4, 4)), "train_labels": np.zeros((3, 14))}, "several labels"),
    ({"train_images": np.zeros((3, 4, 4)), "train_labels": np.zeros(2)}, "3 images"),
    ({"images": np.zeros((2, 4, 4)), "labels": np.array([0.5, 1])}, "no class numbers"),
    ({"images": np.zeros((2, 4, 4)), "labels": np.array([-1, 1])}, "count from 0"),
    ({"pictures": np.zeros((2, 4, 4))}, "pictures; give train_images"),
])  # fmt: skip
def test_arrays_that_are_none(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(CorruptFile, match=said):
        open_dataset(tmp_path / "a.npz", "classify")


def test_splits_by_their_other_names(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("Training", "validation", "testing"):
        for kind in "ab":
            (tmp_path / split / kind).mkdir(parents=True)
            Picture.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(
                tmp_path / split / kind / "x.png"
            )
    data = open_dataset(tmp_path, "classify")
    assert data.classes == ("a", "b")
    assert {c.split for c in data.cases} == {"train", "val", "test"}
    (tmp_path / "one" / "only").mkdir(parents=True)
    with pytest.raises(NotFound, match="0 folders of images"):
        open_dataset(tmp_path / "one", "classify")


def nnunet(root, **more):
    """nnU-Net's raw layout of what `worlds.decathlon` writes."""
    worlds.decathlon(root, count=3)
    for i in range(3):
        path = root / "imagesTr" / f"ball_{i:03d}.nii.gz"
        path.rename(root / "imagesTr" / f"ball_{i:03d}_0000.nii.gz")
    record = {"channel_names": {"0": "T2"}, "labels": {"background": 0, "ball": 1},
              "numTraining": 3, "file_ending": ".nii.gz"} | more  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(record))
    return root


def test_nnunets_raw_layout(tmp_path):
    data = open_dataset(nnunet(tmp_path / "n"), "segment")
    assert (data.classes, data.modality, len(data.cases)) == (("ball",), "MR", 3)
    assert data.cases[0].mask().max() == 1


def test_labels_that_are_ignored_do_not_count(tmp_path):
    root = nnunet(tmp_path / "n", labels={"background": 0, "ignore": 1, "other": 2})
    data = open_dataset(root, "segment")
    assert data.classes == ("other",)
    case = data.cases[0]
    assert case.mask().max() == 0
    assert 0 < np.count_nonzero(~case.region()) < case.region().size


@pytest.mark.parametrize(("more", "said"), [
    ({"channel_names": {"0": "T1", "1": "T2"}}, "2 channels .T1, T2."),
    ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "whole are regions"),
])  # fmt: skip
def test_several_channels_and_regions_are_refused_by_name(tmp_path, more, said):
    root = nnunet(tmp_path / "n", **more)
    with pytest.raises(UnsupportedFormat, match=said):
        open_dataset(root, "segment")


def test_damaged_descriptions(tmp_path):
    root = nnunet(tmp_path / "n")
    (root / "imagesTr" / "ball_000_0001.nii.gz").write_bytes(b"x")
    with pytest.raises(UnsupportedFormat, match="second channel"):
        open_dataset(root, "segment")
    for text, kind, said in (
        ("{", CorruptFile, "not JSON"), ("[]", CorruptFile, "no JSON object"),
        ('{"training": [{"image": "a.nii", "label": "b.nii"}]}', NotFound, "names 1 training"),
    ):  # fmt: skip
        (root / "dataset.json").write_text(text)
        with pytest.raises(kind, match=said):
            open_dataset(root, "segment")
