"""Classes of a data set in a model's order."""

import numpy as np
import pytest

from somascope.core import Grid, Image
from somascope.core.errors import ParameterError
from somascope.learn.classes import ordered
from somascope.learn.compare import compare
from somascope.learn.datasets import Case, Dataset
from somascope.learn.evaluate import Evaluation

GRID = Grid.from_spacing((1, 2, 2), (1, 1, 1))


def dataset(task, *names):
    image = Image(np.zeros((1, 2, 2), np.uint8), GRID)
    values = np.array([[[0, 1], [2, 1]]], np.uint8)
    boxes = np.array([[0, 0, 1, 1, 0], [0, 0, 2, 2, 1.0]])
    cases = tuple(
        Case(str(k), str(k), lambda: image, "test", k if task == "classify" else -1,
             mask=(lambda: values) if task == "segment" else None,
             boxes=boxes if task == "detect" else None)
        for k in range(2)
    )  # fmt: skip
    return Dataset("set", task, names, cases)


def test_labels_masks_and_boxes_follow_the_names():
    found, note = ordered(dataset("classify", "vessel", "nodule"), ["nodule", "vessel"])
    assert [c.label for c in found.cases] == [1, 0]
    assert found.classes == ("nodule", "vessel")
    assert "another order" in note
    found, _ = ordered(dataset("segment", "Posterior", "Anterior"),
                       ["anterior hippocampus", "posterior hippocampus"])  # fmt: skip
    assert found.cases[0].mask().tolist() == [[[0, 2], [1, 2]]]
    assert found.cases[0].mask().dtype == np.uint8
    found, _ = ordered(dataset("detect", "WBC", "RBC"), ["RBC", "WBC"])
    assert found.cases[0].boxes[:, 4].tolist() == [1, 0]


@pytest.mark.parametrize(("own", "names", "said"), [
    (("normal", "pneumonia"), ("normal", "pneumonia"), ""),
    (("Anterior", "Posterior"), ("anterior hippocampus", "posterior hippocampus"), ""),
    (("0", "1"), ("normal", "pneumonia"), ""),
    (("label 1", "label 2"), ("liver", "spleen"), ""),
    (("cat", "dog"), ("liver", "spleen"), "cat is liver, dog is spleen"),
    (("malignant", "not malignant"), ("malignant", "not malignant"), ""),
    (("left lung", "right lung"), ("lung", "heart"), "left lung is lung"),
])  # fmt: skip
def test_what_cannot_be_told_is_taken_in_order_and_said(own, names, said):
    given = dataset("classify", *own)
    found, note = ordered(given, names)
    assert found is given
    assert (said in note) if said else not note


def test_evaluations_of_other_classes_are_not_compared():
    rows = [{"id": "a", "patient": "a", "truth": 0, "p": [1.0, 0.0], "said": 0}]
    one, two = (
        Evaluation("classify", "m", "d", names, "test", rows=rows)
        for names in (("a", "b"), ("b", "a"))
    )
    with pytest.raises(ParameterError, match="same order"):
        compare(one, two)
