"""Scans of the same tissue on several scanners become comparable."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.io.findings import to_json
from somascope.jobs.run import run_files
from somascope.process.standardise import (
    SHARES,
    landmarks_at,
    landmarks_of,
    nyul,
    nyul_standard,
    standard,
    white_stripe,
    zscore,
)
from somascope.testing import check_operation

GRID = Grid.from_spacing((6, 32, 32), (2, 1, 1))


def brain(seed=0, white=1000.0, grey=700.0, fluid=300.0):
    """Background 0, three tissues of known shares, T1-like; and where each is."""
    r = np.random.default_rng(seed)
    tissue = np.zeros(GRID.shape, int)
    tissue[:, 4:28, 4:28] = r.choice([1, 2, 3], p=[0.1, 0.4, 0.5], size=(6, 24, 24))
    values = np.array([0.0, fluid, grey, white])[tissue]
    values = values + (tissue > 0) * r.normal(0, 25, GRID.shape)
    return Image(values.astype(np.float32), GRID, "MR"), tissue


def mask_of(where):
    return Mask(data=where.astype(np.uint8), grid=GRID, segments=(Segment(1, "x"),))


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.05, 20), shift=st.floats(-500, 500))
def test_a_rescaled_scan_is_the_same_after_all_three(scale, shift):
    image, tissue = brain()
    other = image.with_data((image.data * scale + shift).astype(np.float32))
    head = mask_of(tissue > 0)
    target = tuple(np.linspace(0, 100, len(SHARES)) ** 1.1)
    for run in (lambda i: zscore(i, head), lambda i: white_stripe(i, head),
                lambda i: nyul(i, landmarks=target)):  # fmt: skip
        a, b = run(image).data, run(other).data
        assert np.abs(a - b).max() < 2e-2 * np.abs(a).max()


def test_zscore_of_a_mask_is_numpys():
    image, tissue = brain()
    chosen = tissue == 3
    out = zscore(image, mask_of(chosen))
    assert out.unit == "1"
    assert out.data[chosen].mean() == pytest.approx(0, abs=1e-4)
    assert out.data[chosen].std() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(
        out.data, (image.data - image.data[chosen].mean()) / image.data[chosen].std(), atol=1e-3
    )


def test_white_stripe_finds_white_matter():
    image, tissue = brain()
    out = white_stripe(image, mask_of(tissue > 0))
    assert abs(out.data[tissue == 3].mean()) < 1.0
    assert out.data[tissue == 2].mean() < -5
    # in T2 white matter is darker, and the largest class
    image, tissue = brain(white=400.0, grey=600.0, fluid=1500.0)
    out = white_stripe(image, mask_of(tissue > 0), contrast="t2")
    assert abs(out.data[tissue == 3].mean()) < 1.0


def test_standard_of_one_scan_is_its_own_scale():
    image, _ = brain()
    own = landmarks_at(image)
    fixed = nyul(image, landmarks=tuple(own))
    np.testing.assert_allclose(fixed.data, image.data, rtol=1e-4, atol=0.05)
    found = standard([image], scale=(0, 100))
    np.testing.assert_allclose(found, (own - own[0]) / (own[-1] - own[0]) * 100)


def test_scanners_agree_after_nyul():
    scans = [brain(seed) for seed in range(3)]
    bent = [
        image.with_data((np.sign(image.data) * np.abs(image.data) ** power * gain)
                        .astype(np.float32))
        for (image, _), power, gain in zip(scans, (1.0, 0.9, 1.15), (1.0, 3.0, 0.2), strict=True)
    ]  # fmt: skip
    learnt = landmarks_of(nyul_standard(*bent))
    out = [nyul(i, landmarks=learnt) for i in bent]
    for kind in (2, 3):
        before = [i.data[t == kind].mean() for i, (_, t) in zip(bent, scans, strict=True)]
        after = [i.data[t == kind].mean() for i, (_, t) in zip(out, scans, strict=True)]
        assert np.std(after) < 0.02 * np.mean(after)
        assert np.std(before) > 0.3 * np.mean(before)
    same = nyul(bent[0], *bent)
    np.testing.assert_allclose(same.data, out[0].data, rtol=1e-5, atol=1e-3)


def test_the_standard_is_a_file_that_runs_make_and_take(tmp_path):
    from somascope.io import read, write

    a, b = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    write(brain(1)[0], a)
    write(brain(2)[0], b)
    (made,) = run_files("process.nyul_standard", [a, b], tmp_path / "standard.json")
    said = [m["value"] for m in json.loads(made.read_text())]
    assert len(said) == len(SHARES)
    assert said == sorted(said)
    (out,) = run_files("process.nyul", [a], tmp_path / "out.nii.gz", {"landmarks": said})
    np.testing.assert_allclose(read(out).data, nyul(brain(1)[0], brain(1)[0], brain(2)[0]).data,
                               atol=1e-2)  # fmt: skip
    assert "NYUL" in to_json(nyul_standard(brain(1)[0]))


def test_missing_values_do_not_spread():
    image, tissue = brain()
    data = image.data.copy()
    data[3, 10, 10] = np.nan
    data[3, 11, 10] = np.inf
    holed = image.with_data(data)
    head = mask_of(tissue > 0)
    for out in (zscore(holed, head), white_stripe(holed, head), nyul(holed, image)):
        assert np.isnan(out.data[3, 10, 10])
        assert np.isfinite(np.delete(out.data.ravel(), [3 * 1024 + 330, 3 * 1024 + 362])).all()


def test_bad_input_is_refused():
    flat = Image(np.full(GRID.shape, 5.0), GRID, "MR")
    for run in (zscore, white_stripe, lambda i: nyul(i, flat)):
        with pytest.raises(ParameterError, match="5"):
            run(flat)
    image, tissue = brain()
    with pytest.raises(ParameterError, match="11 rising"):
        nyul(image, landmarks=(1.0, 2.0))
    with pytest.raises(ParameterError, match="needs landmarks"):
        nyul(image)
    with pytest.raises(ParameterError, match="no finite"):
        zscore(image, mask_of(tissue > 9))
    with pytest.raises(ParameterError, match="one mask"):
        zscore(image, mask_of(tissue > 0), mask_of(tissue > 0))
    moved = Mask(data=np.ones((6, 32, 32), np.uint8), segments=(Segment(1, "x"),),
                 grid=Grid.from_spacing((6, 32, 32), (2, 1, 1), origin=(5, 0, 0)))  # fmt: skip
    with pytest.raises(GeometryError, match="another grid"):
        zscore(image, moved)
    rgb = Image(np.zeros((3, 1, 4, 4), np.uint8), Grid.from_spacing((1, 4, 4), (1, 1, 1)),
                axes=(Axis("channel"),))  # fmt: skip
    with pytest.raises(ParameterError, match="colour"):
        zscore(rgb)


@pytest.mark.parametrize("run", [zscore, white_stripe])
def test_operations_keep_their_contract(run):
    image, tissue = brain()
    check_operation(run, inputs=(image,))
    check_operation(run, inputs=(image, mask_of(tissue > 0)))


def test_nyul_keeps_its_contract():
    check_operation(nyul, inputs=(brain(0)[0], brain(1)[0]))
    check_operation(nyul_standard, inputs=(brain(0)[0], brain(1)[0]))
