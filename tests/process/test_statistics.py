"""Findings of statistics, and the same of data that come in parts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError, ReadError
from somascope.io import read_findings, write
from somascope.io.parts import parts
from somascope.jobs.run import run_files
from somascope.process import histogram
from somascope.process.statistics import statistics, streamed
from somascope.testing import check_operation

R = np.random.default_rng(11)
GRID = Grid.from_spacing((4, 10, 12), (2, 1, 0.5))


def image(data, **more):
    return Image(data, GRID, **more)


def by_name(findings):
    return {f.concept.meaning: f for f in findings}


def test_numbers_are_scipys():
    data = R.gamma(2.0, 30.0, GRID.shape).astype(np.float32)
    found = by_name(statistics(image(data, unit="[hnsf'U]")))
    flat = data.ravel().astype(float)
    truth = {"Mean": flat.mean(), "Standard deviation": flat.std(), "Median": np.median(flat),
             "Skewness": stats.skew(flat), "Excess kurtosis": stats.kurtosis(flat),
             "Percentile 5": np.percentile(flat, 5), "Minimum": flat.min(), "Voxels": flat.size,
             "Volume": flat.size / 1000}  # fmt: skip
    for name, value in truth.items():
        assert found[name].value == pytest.approx(value, rel=1e-5), name
    assert found["Mean"].unit == "[hnsf'U]"
    assert found["Entropy"].unit == "bit"
    assert found["Mean"].concept.scheme == "SCT"


def test_a_region_and_a_segment_of_it():
    data = R.normal(100, 5, GRID.shape).astype(np.float32)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1], labels[2] = 1, 2
    data[2] += 50
    mask = Mask(data=labels, grid=GRID, segments=(Segment(1, "a"), Segment(2, "b")))
    two = by_name(statistics(image(data), mask, segment=2))
    assert two["Mean"].value == pytest.approx(data[2].mean(), rel=1e-6)
    assert two["Volume"].value == pytest.approx(0.12)
    both = by_name(statistics(image(data), mask))
    assert both["Voxels"].value == 240


def test_doors(tmp_path):
    data = R.integers(0, 100, GRID.shape).astype(np.int16)
    write(image(data), tmp_path / "a.nii")
    (made,) = run_files("process.statistics", [tmp_path / "a.nii"], tmp_path / "s.json")
    assert {m["concept"]["meaning"] for m in json.loads(made.read_text())} >= {"Mean", "Entropy"}
    (report,) = run_files("process.statistics", [tmp_path / "a.nii"], tmp_path / "report")
    back = by_name(read_findings(report))
    assert back["Mean"].value == pytest.approx(data.mean(), rel=1e-6)
    check_operation(statistics)
    check_operation(statistics, inputs=(image(R.normal(size=GRID.shape)),))


def test_bad_input():
    with pytest.raises(ParameterError, match="no finite"):
        statistics(image(np.full(GRID.shape, np.nan)))
    odd = R.normal(size=GRID.shape)
    odd[0, 0, :3] = np.nan, np.inf, -np.inf
    assert by_name(statistics(image(odd)))["Voxels without a value"].value == 3
    flat = by_name(statistics(image(np.full(GRID.shape, 7.0))))
    assert (flat["Standard deviation"].value, flat["Skewness"].value) == (0, 0)
    other = Mask(data=np.ones((1, 2, 2), np.uint8), segments=(Segment(1, "x"),),
                 grid=Grid.from_spacing((1, 2, 2), (1, 1, 1)))  # fmt: skip
    with pytest.raises(GeometryError, match="resample the mask"):
        statistics(image(odd), other)
    with pytest.raises(ParameterError, match="one mask"):
        statistics(image(odd), other, other)
    rgb = Image(np.zeros((3, *GRID.shape), np.uint8), GRID, axes=(Axis("channel"),))
    with pytest.raises(ParameterError, match="colours"):
        statistics(rgb)


@settings(deadline=None, max_examples=12)
@given(
    kind=st.sampled_from(["f4", "f8", "i2", "u2", "u1", "i4"]), cuts=st.integers(1, 7),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_parts_give_what_the_whole_gives(kind, cuts, seed):
    r = np.random.default_rng(seed)
    data = r.normal(0, 900, 480)
    data = np.abs(data) % 250 if kind == "u1" else np.abs(data) if kind[0] == "u" else data
    data = data.astype(kind).reshape(GRID.shape)
    if kind[0] == "f":
        data[1, 2, :3] = np.nan, np.inf, -np.inf
    whole = histogram.statistics(image(data), bins=32)
    some, made = streamed(lambda: np.array_split(data.ravel(), cuts), bins=32)
    assert some.count == whole.count
    assert some.missing == whole.missing
    for word in ("minimum", "maximum", "mean", "sd", "skewness", "kurtosis", "mode", "entropy"):
        assert getattr(some, word) == pytest.approx(getattr(whole, word), rel=1e-5, abs=1e-5), word
    for share, value in whole.percentiles.items():
        assert some.percentiles[share] == pytest.approx(value, rel=1e-5, abs=1e-4)
    assert made.total == whole.count


def test_files_are_read_in_parts(tmp_path):
    data = R.normal(40, 10, GRID.shape).astype(np.float32)
    write(image(data), tmp_path / "a.nii.gz")
    write(image(data.astype(np.int16), modality="CT", unit="[hnsf'U]"), tmp_path / "series")
    write(image(data), tmp_path / "a.mha")
    for name, truth in (("a.nii.gz", data), ("a.mha", data), ("series", data.astype(np.int16))):
        sizes = [p.size for p in parts(tmp_path / name)]
        assert sum(sizes) == data.size
        if name != "a.mha":
            assert max(sizes) == 120  # one slice in memory
        found, _ = streamed(lambda n=name: parts(tmp_path / n))
        assert found.mean == pytest.approx(truth.mean(), rel=1e-5)
        assert found.percentiles[50.0] == pytest.approx(np.median(truth), rel=1e-5)
    (tmp_path / "none").mkdir()
    with pytest.raises(ReadError, match="no image"):
        list(parts(tmp_path / "none"))


def test_parts_that_are_no_good():
    with pytest.raises(ParameterError, match="no finite"):
        streamed(list)
    with pytest.raises(ParameterError, match="real values"):
        streamed(lambda: [np.zeros(3, complex)])
    with pytest.raises(ParameterError, match="one dtype"):
        streamed(lambda: [np.zeros(3, np.int16), np.zeros(3, np.float32)])
