"""A detector without a network: it learns discs and balls, tells classes apart, and says why."""

import json
from functools import partial

import numpy as np
import pytest

from somascope.core import Grid, Image
from somascope.core.errors import CorruptFile, ParameterError
from somascope.learn.classical import make_detector
from somascope.learn.classical.explain import explain_boxes, written
from somascope.learn.datasets import Case, Dataset
from somascope.learn.evaluate import evaluate
from somascope.models import load
from somascope.models.candidates import Candidates, Proposed, corners_of
from somascope.models.card import NetworkCard

PLAIN, RINGED = 0, 1


def drawn(shape, seed, count):
    """Bodies in noise: even ones, and ones with a dark middle; with their boxes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.15, shape)
    deep = shape[0] > 1
    boxes, taken = [], []
    while len(boxes) < count:
        r = rng.uniform(4.5, 6.5)
        middle = np.array([rng.uniform(r, n - r) if n > 1 else 0.0 for n in shape])
        if any(np.linalg.norm(middle - m) < 18 for m in taken):
            continue
        taken.append(middle)
        at = np.indices(shape) - middle[:, None, None, None]
        away = np.sqrt((at**2).sum(axis=0))
        kind = len(boxes) % 2
        values[away < r] += 1.5
        if kind == RINGED:
            values[away < 0.45 * r] -= 1.0
        low, high = middle - r + 0.5, middle + r + 0.5
        first = 0 if deep else 1
        boxes.append([*low[first:], *high[first:], kind])
    grid = Grid.from_spacing(shape, (1.0, 1.0, 1.0))
    return Image(values.astype(np.float32), grid), np.array(boxes)


def world(n, shape, count, *, start=0):
    cases = []
    for i in range(n):
        image, boxes = drawn(shape, start + i, count)
        cases.append(Case(f"case{i}", f"p{i}", partial(lambda im: im, image), boxes=boxes))
    return Dataset("bodies", "detect", ("plain", "ringed"), tuple(cases))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    out = tmp_path_factory.mktemp("detector") / "model"
    made = make_detector(world(14, (1, 72, 72), 4), out, kinds=("logistic",), most=12, folds=3)
    return made, load(out)


def test_both_classes_are_found_and_told_apart(pictures):
    made, model = pictures
    assert model.card.task == "detect"
    assert model.card.features.candidates.stretch != ()
    judged = evaluate(model, world(6, (1, 72, 72), 4, start=100), split="all", draws=10)
    assert judged.value("map50") > 0.8
    # The card's figure is of folds that the classifier did not see, and says the same.
    told = {m.name: m.value for m in made.card.metrics}
    assert told["map50"] == pytest.approx(judged.value("map50"), abs=0.25)


def test_what_the_graph_says_is_what_was_judged(pictures):
    _, model = pictures
    image, boxes = drawn((1, 72, 72), 300, 4)
    found = model(image, anyway=True)
    assert 2 <= len(found) <= 8
    centres = [(np.array(b.lower) + np.array(b.upper))[1:] / 2 for b in found]
    for row in boxes:
        middle = (row[:2] + row[2:4]) / 2 - 0.5
        near = [b for b, c in zip(found, centres, strict=True) if np.abs(c - middle).max() < 2]
        assert near
        assert near[0].concept.meaning == ("plain", "ringed")[int(row[4])]


def test_every_box_is_explained_and_what_features_add_is_the_whole(pictures, tmp_path):
    _, model = pictures
    image, _ = drawn((1, 72, 72), 301, 4)
    each = explain_boxes(model, image, anyway=True)
    assert each
    for one in each:
        assert sum(one.why.adds.values()) == pytest.approx(one.why.logit - one.why.base, abs=1e-3)
        assert one.why.target in ("plain", "ringed")
    only = explain_boxes(model, image, target="ringed", anyway=True)
    assert {b.why.target for b in only} <= {"ringed"}
    with pytest.raises(ParameterError, match="no class"):
        explain_boxes(model, image, target="square")


def test_explanations_are_written_box_by_box(tmp_path):
    out = tmp_path / "model"
    make_detector(world(12, (1, 60, 60), 3), out, kinds=("logistic",), most=8, folds=2)
    image, _ = drawn((1, 60, 60), 55, 3)
    record = written(out, load(out), image, tmp_path / "why", name="one", anyway=True)
    assert len(record["boxes"]) >= 2
    assert (tmp_path / "why" / "one_box1_features.png").stat().st_size > 1000
    kept = json.loads((tmp_path / "why" / "one_box1_features.json").read_text())
    assert kept["target"] == record["boxes"][0]["target"]
    assert set(record["boxes"][0]["adds"]) <= set(load(out).card.features.names)


def test_balls_in_volumes(tmp_path):
    made = make_detector(
        world(12, (28, 40, 40), 3), tmp_path / "m", kinds=("logistic",), most=8, folds=2
    )
    judged = evaluate(
        load(tmp_path / "m"), world(3, (28, 40, 40), 3, start=50), split="all", draws=5
    )
    assert made.card.dimensions == 3
    assert judged.value("map50") > 0.6


def test_what_cannot_be_learned_is_refused(tmp_path):
    few = world(4, (1, 60, 60), 2)
    with pytest.raises(ParameterError, match="4 images to learn from; 10 at least"):
        make_detector(few, tmp_path / "m")
    other = Dataset("x", "classify", ("a", "b"), few.cases)
    with pytest.raises(ParameterError, match="to classify, not to detect"):
        make_detector(other, tmp_path / "m")
    noise = Dataset("noise", "detect", ("speck", "dot"), tuple(
        Case(f"n{i}", f"n{i}",
             partial(Image, np.random.default_rng(i).normal(size=(1, 50, 50)).astype(np.float32),
                     Grid.from_spacing((1, 50, 50), (1.0, 1.0, 1.0))),
             boxes=np.array([[1.0, 1.0, 49.0, 9.0, 0.0], [1.0, 40.0, 49.0, 48.0, 1.0]]))
        for i in range(10)
    ))  # fmt: skip
    with pytest.raises(ParameterError, match="no blobs, or too few"):
        make_detector(noise, tmp_path / "m", folds=5, most=5)


def test_boxes_are_stretched_balls():
    grid = Grid.from_spacing((1, 40, 40), (1.0, 2.0, 1.0))
    found = Proposed(np.array([[0.0, 10.0, 20.0]]), np.array([8.0]), np.array([1.0]))
    assert corners_of(found, (1.0, 1.0, 0.5), grid).tolist() == [[8.5, 18.5, 12.5, 22.5]]


def test_a_card_with_nonsense_is_refused(pictures):
    _, model = pictures
    text = model.card.to_json()
    assert NetworkCard.from_json(text).features == model.card.features
    record = json.loads(text)
    for key, value in (("sides", ["up"]), ("most", 0), ("smallest", -1), ("stretch", [[9, 9]])):
        wrong = json.loads(text)
        wrong["features"]["candidates"][key] = value
        with pytest.raises(CorruptFile):
            NetworkCard.from_json(json.dumps(wrong))
    record["task"] = "classify"
    with pytest.raises(CorruptFile, match="task"):
        NetworkCard.from_json(json.dumps(record))
    assert Candidates.from_record(record["features"]["candidates"]).most == 12
