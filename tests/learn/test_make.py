"""One line for each task: data set, plan, training, model file, findings."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from somascope.core import Box, Label, Mask, Warp
from somascope.io import read, read_all
from somascope.learn.datasets import open_dataset
from somascope.learn.make import acquainted, make, planned
from somascope.learn.plan import Machine
from somascope.models import load
from somascope.models.inputs import inputs
from somascope.models.predict import predict
from somascope.testing import check_model
from tests.learn import worlds


def tiny(dataset, **network):
    plan = planned(dataset, budget_minutes=5, machine=Machine(1, "", 8.0))
    augment = {**plan.augment, "bend": 0.0, "blur": 0.0}
    return replace(plan, network={**plan.network, **network}, augment=augment, rate=5e-3,
                   average=0.9)  # fmt: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    root = tmp_path_factory.mktemp("classify")
    worlds.npz(root / "discs.npz")
    data = open_dataset(root / "discs.npz", "classify")
    card, trained = make(data, root / "model", chosen=replace(tiny(data, widths=[6, 12], blocks=1),
                                                              batch=16), steps=60)  # fmt: skip
    return root, card, trained


def test_classify_from_npz_to_labels(classifier):
    root, card, trained = classifier
    assert trained.steps == 60
    assert max(h["auc"] for h in trained.history) > 0.95
    model = load(root / "model")
    data = open_dataset(root / "discs.npz", "classify")
    held = data.of("test")
    said = [model(c.image())[0] for c in held]
    assert all(isinstance(s, Label) for s in said)
    right = [s.concept == card.classes[c.label].code for s, c in zip(said, held, strict=True)]
    assert np.mean(right) > 0.85
    check_model(model, held[0].image())


def test_predictions_csv_is_the_contract(classifier, tmp_path):
    root, card, _ = classifier
    with np.load(root / "discs.npz") as archive:
        np.savez(tmp_path / "new.npz", images=archive["test_images"])
    done = predict(load(root / "model"), inputs([tmp_path / "new.npz"]), tmp_path / "out")
    assert done.files == [tmp_path / "out" / "predictions.csv"]
    rows = worlds.rows(done.files[0])
    assert list(rows[0]) == ["id", "p_0", "p_1"]
    assert [r["id"] for r in rows] == [str(i) for i in range(24)]
    p = np.array([[float(r["p_0"]), float(r["p_1"])] for r in rows])
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert ((p[:, 1] > 0.5) == (np.arange(24) % 2 == 1)).mean() > 0.85
    assert card.temperature > 0


def test_the_same_seed_gives_the_same_model(classifier, tmp_path):
    root, card, _ = classifier
    data = open_dataset(root / "discs.npz", "classify")
    plan = replace(tiny(data, widths=[6, 12], blocks=1), batch=16)
    again, _ = make(data, tmp_path / "model", chosen=plan, steps=60)
    assert again.sha256 == card.sha256


def test_segment_pictures_from_folders_to_png(tmp_path):
    root = worlds.pairs(tmp_path / "set")
    data = open_dataset(root, "segment")
    assert data.classes == ("label 1",)
    _, trained = make(data, tmp_path / "model.zip", chosen=tiny(data, widths=[6, 12, 24]), steps=40)
    assert trained.best > 0.8
    model = load(tmp_path / "model.zip")
    case = data.cases[-1]
    (mask,) = model(case.image())
    assert isinstance(mask, Mask)
    check_model(model, case.image())
    done = predict(model, inputs([root / "images"]), tmp_path / "out", probabilities=True)
    assert (tmp_path / "out" / "case_03_prob.png") in done.files
    for case in data.cases:
        found = read(tmp_path / "out" / f"{case.id}.png").data
        truth = case.mask()
        assert found.shape == truth.shape
        assert 2 * ((found > 0) & (truth > 0)).sum() / ((found > 0).sum() + truth.sum()) > 0.7


def test_segment_volumes_on_their_own_oblique_grid(tmp_path):
    root = worlds.decathlon(tmp_path / "Task99")
    data = open_dataset(root, "segment")
    assert data.classes == ("ball",)
    assert data.modality == "MR"
    plan = replace(tiny(data, widths=[6, 12]), rate=2e-2)
    assert plan.preparation.orient
    _, trained = make(data, tmp_path / "model", chosen=plan, steps=60)
    assert trained.best > 0.75
    model = load(tmp_path / "model")
    path = root / "imagesTr" / "ball_000.nii.gz"
    image = model.card.declared(read(path))
    check_model(model, image)
    predict(model, inputs([path]), tmp_path / "out", probabilities=True)
    found = read_all(tmp_path / "out" / "ball_000.nii.gz").nouns[0]
    truth = data.cases[0].mask()
    assert found.grid.allclose(image.grid)
    assert 2 * ((found.data > 0) & (truth > 0)).sum() / ((found.data > 0).sum() + truth.sum()) > 0.7
    probability = read(tmp_path / "out" / "ball_000_prob.nii.gz")
    assert probability.grid.allclose(image.grid)
    assert ((probability.data >= 0.5) == (found.data > 0)).mean() > 0.999


def test_detect_from_voc_to_coco_results(tmp_path):
    root = worlds.voc(tmp_path / "VOC")
    data = open_dataset(root, "detect")
    assert [c.split for c in data.cases].count("val") == 3
    plan = replace(tiny(data, widths=[6, 12, 24], finest=2), batch=8)
    _, trained = make(data, tmp_path / "model", chosen=plan, steps=90)
    assert trained.best > 0.6
    model = load(tmp_path / "model")
    found = model(data.cases[0].image())
    assert all(isinstance(b, Box) for b in found)
    check_model(model, data.cases[0].image())
    predict(model, inputs([root / "JPEGImages" / "cells_000.png"]), tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert set(rows[0]) == {"image", "category", "bbox", "score"}
    assert (rows[0]["image"], rows[0]["category"]) == ("cells_000", "disc")
    x, y, w, h = rows[0]["bbox"]
    truth = data.cases[0].boxes
    centre = np.array([(truth[:, 0] + truth[:, 2]) / 2, (truth[:, 1] + truth[:, 3]) / 2]).T
    assert np.abs(centre - (y + h / 2, x + w / 2)).max(axis=1).min() < 3


def test_register_pairs_to_a_warp(tmp_path):
    root = worlds.decathlon(tmp_path / "Task99")
    data = open_dataset(root, "register")
    _, trained = make(data, tmp_path / "model", chosen=tiny(data, widths=[4, 8]), steps=30)
    assert trained.history[-1]["dice"] > trained.history[-1]["dice_before"]
    model = load(tmp_path / "model")
    case = data.cases[0]
    (warp,) = model(case.image(), case.moving())
    assert isinstance(warp, Warp)
    names = [root / "imagesTr" / f"ball_00{i}.nii.gz" for i in (0, 1)]
    done = predict(model, inputs(names), tmp_path / "out")
    assert read(done.files[0]).grid.allclose(case.image().grid)


def test_what_is_usual_is_told_from_one_image_at_a_time(classifier):
    root, card, _ = classifier
    data = open_dataset(root / "discs.npz", "classify")
    loads, most = [], []

    def loaded(case):
        image = replace(case.image(), attributes={"BodyPartExamined": "chest "})
        loads.append(weakref.ref(image.data))
        most.append(sum(r() is not None for r in loads))
        return image

    cases = [replace(c, image=lambda c=c: loaded(c)) for c in data.of("train")]
    made = acquainted(card, cases, tiny(data))
    assert len(most) == len(cases)
    assert max(most) == 1
    assert made.body_parts == ("CHEST",)
    assert made.familiar is not None


def test_transfer_starts_from_the_other_model(classifier, tmp_path):
    root, _, _ = classifier
    data = open_dataset(root / "discs.npz", "classify")
    plan = replace(tiny(data, widths=[6, 12], blocks=1), batch=16)
    fresh, _ = make(data, tmp_path / "fresh", chosen=plan, steps=2)
    _, one = make(data, tmp_path / "one", chosen=plan, steps=2, start=root / "model")
    _, none = make(data, tmp_path / "none", chosen=plan, steps=2)
    assert one.history[-1]["loss"] < none.history[-1]["loss"]
    assert fresh.sha256
