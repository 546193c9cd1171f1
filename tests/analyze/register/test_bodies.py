"""Different parts of the body are not registered, where the images say what they show."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.analyze.register import register
from somascope.analyze.register.bodies import apart, regions
from somascope.core import Grid, Image
from somascope.core.errors import Refused
from tests.analyze.register.pairs import pair


def named(part: str) -> Image:
    grid = Grid.from_spacing((2, 2, 2), (1, 1, 1))
    return Image(np.zeros((2, 2, 2)), grid, attributes={"BodyPartExamined": part} if part else {})


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("HEAD", {"head"}), ("BRAIN", {"head"}), ("HEART", {"chest"}), ("EAR", {"head"}),
        ("CHESTABDPELVIS", {"chest", "abdomen", "pelvis"}), ("HEADNECK", {"head", "neck"}),
        ("Chest^Abdomen", {"chest", "abdomen"}), ("LSPINE", {"abdomen"}),
        ("HIP", {"pelvis", "leg"}),
        ("LUMBAR SPINE", {"neck", "chest", "abdomen", "pelvis"}), ("WHOLEBODY", set()),
        ("FOREARM", {"arm"}), ("", set()), ("PHANTOM", set()),
    ],
)  # fmt: skip
def test_what_a_name_stands_for(part, found):
    assert regions(named(part)) == found


@pytest.mark.parametrize(
    ("one", "two", "far"),
    [
        ("HEAD", "CHEST", True), ("BRAIN", "KNEE", True), ("HEAD", "BRAIN", False),
        ("CHEST", "ABDOMEN", False), ("ABDOMEN", "HEAD", True), ("HEAD", "", False),
        ("HEAD", "WHOLEBODY", False), ("NECK", "HEAD", False), ("HAND", "FOOT", True),
    ],
)  # fmt: skip
def test_what_is_too_far_apart(one, two, far):
    assert apart(named(one), named(two)) is far
    assert apart(named(two), named(one)) is far


def test_it_is_refused_unless_it_is_meant():
    made = pair(shift=(4, 0, 0), shape=(20, 24, 22), spacing=(6.0, 6.0, 6.0))
    head = replace(made.fixed, attributes={"BodyPartExamined": "HEAD"})
    chest = replace(made.moving, attributes={"BodyPartExamined": "CHEST"})
    with pytest.raises(Refused, match="the images show HEAD and CHEST"):
        register(head, chest, "rigid")
    assert register(head, chest, "rigid", accept=True).verdict.trusted
    marks = head.grid.to_world([[4, 4, 4], [15, 6, 5], [6, 18, 8], [8, 8, 18]])
    assert register(head, chest, "rigid", landmarks=(marks, marks - [4, 0, 0])).verdict.trusted
