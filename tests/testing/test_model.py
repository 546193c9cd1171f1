from dataclasses import replace

import numpy as np
import pytest

from somascope.core import TISSUE, Box, Card, Grid, Image, Label, Mask, Segment
from somascope.testing import check_model

CARD = Card("rule", "1", "segment", "Threshold", ("CT",), 3, (0.5, 3.0), licence="Apache-2.0")


def image():
    data = np.random.default_rng(1).normal(size=(6, 8, 8))
    return Image(data, Grid.from_spacing((6, 8, 8), (2.0, 1.0, 1.0)), "CT")


class Rule:
    """A threshold is a model."""

    card = CARD

    def __call__(self, *images):
        for i in images:
            self.card.check(i)
        return self.look(images[0])

    def look(self, im):
        return [
            Mask(data=(im.data > 1).astype(np.uint8), grid=im.grid, segments=(Segment(1, "x"),))
        ]


class Classifier(Rule):
    card = replace(CARD, task="classify", dimensions=2, spacing_mm=(0.0, float("inf")))

    def look(self, im):
        return [Label(concept=TISSUE, confidence=0.75, probabilities={"a": 0.75, "b": 0.25})]


class Detector(Rule):
    card = replace(CARD, task="detect")

    def look(self, im):
        return [
            Box(concept=TISSUE, confidence=1.0, grid=im.grid, lower=(0, 1, 2), upper=(5, 7, 7.5))
        ]


def test_good_models_pass():
    check_model(Rule(), image())
    flat = image().crop(start=(0, 0, 0), stop=(1, 8, 8))
    check_model(Classifier(), flat)
    check_model(Detector(), image())


def model(base=Rule, **members):
    return type("Bad", (base,), members)()


def no_check(self, *images):
    return self.look(images[0])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (model(card=replace(CARD, licence="")), "no licence"),
        (model(card=replace(CARD, task="dream")), "task"),
        (model(card=replace(CARD, modalities=("MR",))), "outside the card"),
        (model(__call__=no_check), "accepts modality"),
        (
            model(__call__=no_check, card=replace(CARD, modalities=(), spacing_mm=(0, np.inf))),
            "accepts a single slice",
        ),
        (model(look=lambda self, im: Detector().look(im)), "returns a Box"),
        (model(look=lambda self, im: None), "list of findings"),
        (
            model(
                look=lambda self, im: [
                    Mask(data=np.full(im.shape, 7, np.uint8), grid=im.grid,
                         segments=(Segment(1, "x"),))
                ]
            ),
            "no segment",
        ),
        (
            model(
                look=lambda self, im: [
                    Mask(data=np.full((1, *im.shape), 1.5, np.float32), grid=im.grid,
                         segments=(Segment(1, "x"),))
                ]
            ),
            "probability",
        ),
        (
            model(
                look=lambda self, im: [
                    Mask(data=np.zeros((2, 2, 2), np.uint8),
                         grid=Grid.from_spacing((2, 2, 2), (1, 1, 1)), segments=())
                ]
            ),
            "was found on",
        ),
        (
            model(
                Detector,
                look=lambda self, im: [
                    Box(concept=TISSUE, confidence=1.0, grid=im.grid, lower=(0, 0, 0),
                        upper=(9, 1, 1))
                ],
            ),
            "leaves the grid",
        ),
        (
            model(
                Detector,
                look=lambda self, im: [
                    Box(concept=TISSUE, confidence=1.2, grid=im.grid, lower=(0, 0, 0),
                        upper=(1, 1, 1))
                ],
            ),
            "outside \\[0, 1\\]",
        ),
        (
            model(
                look=lambda self, im: [
                    Mask(data=np.random.default_rng().integers(0, 2, im.shape, np.uint8),
                         grid=im.grid, segments=(Segment(1, "x"),))
                ]
            ),
            "second time",
        ),
    ],
)  # fmt: skip
def test_broken_models_are_caught(bad, words):
    with pytest.raises(AssertionError, match=words):
        check_model(bad, image())


def test_spacing_is_tried_both_ways():
    class Careless(Rule):
        def __call__(self, *images):
            for i in images:
                replace(self.card, spacing_mm=(0.0, 3.0)).check(i)
            return self.look(images[0])

    with pytest.raises(AssertionError, match="smaller voxels"):
        check_model(Careless(), image())


def test_probabilities_add_up_and_an_image_is_needed():
    flat = image().crop(start=(0, 0, 0), stop=(1, 8, 8))
    half = [Label(concept=TISSUE, confidence=0.5, probabilities={"a": 0.5, "b": 0.2})]
    with pytest.raises(AssertionError, match="add up"):
        check_model(model(Classifier, look=lambda self, im: half), flat)
    with pytest.raises(AssertionError, match="at least one image"):
        check_model(Rule())
    with pytest.raises(AssertionError, match="lacks"):
        check_model(object(), flat)
