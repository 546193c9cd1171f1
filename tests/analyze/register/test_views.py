"""Radiographs of the thorax phantom moved by known amounts, and its CT found again."""

import numpy as np
import pytest

from somascope.acquire.xray.simulate import simulate
from somascope.analyze.register import register_views
from somascope.core import Grid, Image
from somascope.core.errors import GeometryError
from somascope.phantoms import thorax_ct
from somascope.testing import check_operation
from tests.analyze.register.rooms import missed, radiographs


@pytest.fixture(scope="module")
def chest() -> Image:
    grid = Grid.from_spacing((48, 60, 72), (6.0, 6.0, 6.0), origin=(-213.0, -177.0, -141.0))
    return thorax_ct(grid)


def test_two_views_tell_the_pose(chest):
    warp = register_views(radiographs(chest, ["PA", "LL"]), chest)
    assert np.linalg.norm(missed(chest, warp), axis=1).max() < 1.5  # voxels of 6 mm
    assert warp.verdict.trusted, warp.verdict.words
    assert warp.verdict.after["local_correlation"] > warp.verdict.before["local_correlation"]


def test_one_view_tells_all_but_the_depth(chest):
    warp = register_views(radiographs(chest, ["PA"]), chest)
    away = missed(chest, warp)
    assert np.abs(away[:, [0, 2]]).max() < 4
    assert "standard error of the shift" in warp.verdict.notes[0]


def test_counts_of_a_detector_are_corrected_first(chest):
    counts = simulate(chest, view="PA", rows=96, columns=96, pitch=5.0, blur=0.0)
    warp = register_views(counts, chest, turn=4.0)
    assert np.abs(missed(chest, warp, np.zeros(6))[:, [0, 2]]).max() < 2


def test_another_body_is_not_trusted(chest):
    other = np.random.default_rng(0).standard_normal(chest.shape).astype(np.float32)
    shown = radiographs(chest, ["PA", "LL"])
    warp = register_views(shown, chest.with_data(500 * other), turn=0.0)
    assert not warp.verdict.trusted
    assert warp.confidence < 0.5


def test_wrong_use_is_refused(chest):
    shown = radiographs(chest, ["PA"])
    with pytest.raises(GeometryError, match="one volume"):
        register_views(shown, chest.crop(start=(0, 0, 0), stop=(1, 60, 72)))


def test_five_doors(chest):
    check_operation(
        "analyze.register_views", inputs=(radiographs(chest, ["PA"]), chest), params={"turn": 0.0}
    )
