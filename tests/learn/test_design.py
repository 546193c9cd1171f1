"""The planner's rules about networks: thickness, budget, mirrors, what few patients need."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.learn.design import THICK, designed, examples, sided
from somascope.learn.fingerprint import Fingerprint, thickness
from somascope.learn.networks import build
from somascope.learn.plan import Machine, plan

VOLUMES = Fingerprint(
    task="segment", cases=200, patients=200, dimensions=3, channels=1,
    shape_median=(35.0, 50.0, 35.0), shape_large=(43.0, 55.0, 38.0), same_shape=False,
    spacing_median=(1.0, 1.0, 1.0), spacing_low=1.0, spacing_high=1.0, pictures=False,
    value_low=0.0, value_high=1000.0, value_spread=9.0, class_counts=(), thin=8.0,
)  # fmt: skip
FUNDI = replace(
    VOLUMES, cases=20, patients=20, dimensions=2, channels=3, shape_median=(1.0, 584.0, 565.0),
    shape_large=(1.0, 584.0, 565.0), pictures=True, value_high=255.0, value_spread=1.1, thin=3.5,
)  # fmt: skip


def made(facts, *, minutes, classes=("anterior", "posterior")):
    return plan(facts, Machine(1, "", 8.0), dataset="x", classes=classes, budget_minutes=minutes)


@pytest.mark.parametrize("thick", [2, 3, 4, 7, 8])
def test_a_plate_is_as_thick_as_it_is(thick):
    labels = np.zeros((20, 16, 16), np.uint8)
    labels[5 : 5 + thick] = 1
    middle = labels[:, 8:9].transpose(1, 0, 2)
    assert thickness(labels) == pytest.approx(thick, abs=0.5)
    assert thickness(middle) == pytest.approx(thick, abs=0.5)
    assert thickness(np.zeros((4, 4, 4))) == 0.0


def test_a_short_budget_merges_voxels_inside_and_answers_for_each():
    long, short = made(VOLUMES, minutes=100_000), made(VOLUMES, minutes=20)
    assert (long.network["stem"], short.network["stem"]) == (1, 2)
    assert "stem" in short.reasons
    shape = (1, 1, *short.patch)
    assert build(short.network)(torch.zeros(shape)).shape == (1, 3, *short.patch)


def test_thin_things_keep_every_voxel():
    found = made(FUNDI, minutes=1)
    assert FUNDI.thin < THICK[2]
    assert found.network["stem"] == 1
    assert "3.5 voxels thick" in found.reasons["stem"]
    assert found.patch == (96, 96)
    assert made(replace(FUNDI, thin=20.0), minutes=1).network["stem"] == 2


def test_widths_are_whole_eights_and_grow_with_the_budget():
    widths = [made(VOLUMES, minutes=m).network["widths"] for m in (1, 60, 100_000)]
    assert all(w % 8 == 0 for some in widths for w in some)
    firsts = [w[0] for w in widths]
    assert firsts == sorted(firsts)
    assert firsts[0] < firsts[-1]
    why: dict[str, str] = {}
    tiny = designed(VOLUMES, (32, 48, 32), 2, 1e18, 400_000, why)
    assert tiny["widths"][0] < 32
    assert "0.4 MB" in why["network"] or "of 0 MB" in why["network"]


def test_the_patch_is_of_the_usual_case():
    assert made(VOLUMES, minutes=20).patch == (32, 48, 32)


def test_volumes_are_mirrored_only_where_no_class_is_of_a_side():
    assert made(VOLUMES, minutes=20).augment["flip"] == [2]
    assert made(VOLUMES, minutes=20, classes=("Left kidney", "tumour")).augment["flip"] == []
    gray = replace(FUNDI, channels=1)
    assert made(gray, minutes=20).augment["flip"] == []
    assert made(FUNDI, minutes=20).augment["flip"] == [0, 1]
    eyes = replace(FUNDI, task="classify", shape_median=(1.0, 64.0, 64.0), same_shape=True)
    assert made(eyes, minutes=20, classes=("right eye", "left eye")).augment["flip"] == []


@pytest.mark.parametrize(
    "name",
    ["Left kidney", "kidney_l", "R hippocampus", "rt-lung", "hemisphere.LH", "label 2", "3",
     "atrium sinistrum"],
)  # fmt: skip
def test_a_class_that_may_be_of_a_side(name):
    assert sided(["tumour", name])
    assert not sided(["tumour", "anterior hippocampus", "liver 2", "real_lesion"])


def test_few_patients_are_varied_more_and_shapes_keep_their_size():
    few, many = (made(replace(VOLUMES, patients=n), minutes=20).augment for n in (8, 200))
    assert all(few[k] > many[k] for k in ("rotate", "scale", "contrast", "gamma"))
    shapes = made(replace(VOLUMES, task="classify", levels=2), minutes=20).augment
    assert shapes["scale"] < 0.1
    assert shapes["noise"] == shapes["gamma"] == 0.0


def test_volumes_to_classify_are_as_fine_as_the_budget_bears():
    cubes = replace(VOLUMES, task="classify", shape_median=(64.0,) * 3, shape_large=(64.0,) * 3,
                    same_shape=True)  # fmt: skip
    assert made(cubes, minutes=3).preparation.size == (32, 32, 32)
    assert made(cubes, minutes=5000).preparation.size == (64, 64, 64)
    assert examples(cubes, (64, 64, 64)) >= 20 * cubes.cases
