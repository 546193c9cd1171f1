"""The functional benchmarks run in their smallest case and their answers are right."""

import pytest

from benchmarks.acquire import fmri_glm, fmri_realign, fmri_smooth


def test_glm_against_nilearn():
    pytest.importorskip("nilearn")
    plain, whitened, unbiased = fmri_glm.run(small=True)
    assert plain["quality_ours"] < 1e-3
    assert whitened["quality_ours"] < 1e-3
    assert 1e-3 < unbiased["quality_ours"] < 3


def test_smoothing_against_nilearn():
    pytest.importorskip("nilearn")
    (line,) = fmri_smooth.run(small=True)
    assert line["quality_ours"] < 1e-5


def test_motion_against_simpleitk():
    pytest.importorskip("SimpleITK")
    (line,) = fmri_realign.run(small=True)
    assert line["quality_ours"] < 0.4
