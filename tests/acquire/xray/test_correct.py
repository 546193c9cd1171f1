"""What the panel does wrong is planted and taken away again."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.xray.correct import correct, filled, find_defects, without_lag
from somascope.acquire.xray.detector import Detector, persist
from somascope.acquire.xray.expose import Beam, expose
from somascope.acquire.xray.radiograph import radiograph
from somascope.acquire.xray.simulate import simulate
from somascope.acquire.xray.views import radiograph_views
from somascope.core import Grid
from somascope.core.errors import GeometryError, NotFound, ParameterError, UnitError
from tests.acquire.xray.conftest import SMALL


@pytest.fixture(scope="module")
def truth(chest):
    """Line integrals of the same chest before a panel without faults or noise."""
    faultless = Detector(blur=0, electronic_noise=0, offset=0, gain_variation=0, defects=0,
                         defect_lines=0)  # fmt: skip
    scan = radiograph_views(chest.grid, ["PA"], shape=(192, 192), pitch=2.2)
    beam = Beam(copper=0.1)
    return expose(chest.data, scan, beam=beam, detector=faultless, noise=False).line_integrals[0]


def test_line_integrals_come_back(chest, truth):
    clean = correct(simulate(chest, seed=2, noise=False, blur=0.0, gain_variation=0.1, **SMALL))
    assert clean.unit == "1"
    good = ~clean.calibration["defects"]
    gap = clean.samples[0] - truth
    # What is left is the rounding of counts: half a count where few hundred came through.
    assert np.abs(gap[good]).max() < 0.01
    assert abs(gap[good].mean()) < 1e-3


def test_gain_pattern_is_gone_from_an_open_beam():
    hu = np.full((4, 4, 4), -1000, np.int16)
    grid = Grid.from_spacing(hu.shape, (30.0, 30.0, 30.0), origin=(-45, -45, -45))
    from somascope.core import Image

    air = Image(hu, grid, "CT", "[hnsf'U]")
    raw = simulate(air, seed=3, rows=128, columns=128, pitch=1.0, mas=1.0, gain_variation=0.08)
    dead = raw.calibration["defects"]
    counts = raw.samples[0].astype(float) - raw.calibration["dark"]
    assert counts[~dead].std() / counts[~dead].mean() > 0.06
    flat = correct(raw, logarithm=False)
    assert flat.unit == "{counts}"
    left = flat.samples[0].std() / flat.samples[0].mean()
    quanta = np.sqrt(flat.samples[0].mean()) / flat.samples[0].mean()
    assert left < 1.5 * quanta < 0.01
    open_beam = correct(raw).samples[0]
    assert abs(open_beam.mean()) < 2e-3


def test_defects_are_filled_to_within_the_noise(chest, truth):
    raw = simulate(chest, seed=4, defects=0.01, **SMALL)
    bad = raw.calibration["defects"]
    assert 0.01 < bad.mean() < 0.05
    noise = np.std((correct(raw).samples[0] - truth)[~bad])
    filled_in = (correct(raw).samples[0] - truth)[bad]
    left_alone = (correct(raw, defects=False).samples[0] - truth)[bad]
    assert np.median(np.abs(filled_in)) < 2 * noise
    assert np.sqrt(np.mean(filled_in**2)) < 0.05
    assert np.sqrt(np.mean(left_alone**2)) > 40 * np.sqrt(np.mean(filled_in**2))


def test_defects_are_found_without_a_map(raw):
    gain = raw.calibration["flat"] - raw.calibration["dark"]
    np.testing.assert_array_equal(find_defects(gain), raw.calibration["defects"])


def test_filling_keeps_a_ramp_and_an_edge():
    y, x = np.mgrid[:40, :40].astype(float)
    bad = np.zeros((40, 40), bool)
    bad[:, 20] = True  # a whole column
    bad[9:11, 9:11] = True  # a cluster
    bad[0, 0] = True  # a corner
    ramp = 3 * x + 2 * y
    got = filled(np.where(bad, -1e6, ramp), bad)
    np.testing.assert_allclose(got[5:-5], ramp[5:-5], atol=1e-9)
    assert abs(got[0, 0] - ramp[0, 0]) < 12
    edge = np.where(y < 20, 100.0, 900.0)
    np.testing.assert_allclose(filled(np.where(bad, 0.0, edge), bad), edge, rtol=1e-12)
    lost = np.zeros((40, 40), bool)
    lost[5:35, 5:35] = True
    assert np.isfinite(filled(ramp, lost)).all()


def test_lag_is_taken_away():
    rng = np.random.default_rng(5)
    exposures = rng.random((9, 6, 7)) * 1000
    exposures[3:] *= 0.01  # a bright series, then dark ones: the ghost is worst here
    measured = persist(exposures, 0.12, 3.0)
    assert np.abs(measured[4] / exposures[4] - 1).mean() > 0.5
    np.testing.assert_allclose(without_lag(measured, 0.12, 3.0), exposures, rtol=1e-9)
    np.testing.assert_allclose(persist(exposures, 0.3, 1.0).sum(), exposures.sum(), rtol=0.1)


def test_lag_of_a_sweep_is_taken_away(chest):
    few = {"rows": 48, "columns": 48, "pitch": 8.8, "exposures": 5, "noise": False, "mas": 10.0}
    ghost = simulate(chest, seed=6, lag=0.2, **few)
    clean = correct(simulate(chest, seed=6, **few)).samples
    planted = np.abs(correct(ghost, lag=False).samples - clean)[1:]
    left = np.abs(correct(ghost).samples - clean)[1:]
    assert planted.max() > 0.05
    assert left.mean() < 0.1 * planted.mean()  # the rounding of counts stays


def test_a_radiograph_is_where_its_detector_is(raw):
    image = radiograph(raw)
    assert image.data.shape == (1, 192, 192)
    assert image.unit == "1"
    assert image.grid.frame_of_reference == raw.operator.grid.frame_of_reference
    np.testing.assert_allclose(
        image.grid.to_world((0, 7, 9)), raw.operator.pixels(0)[7, 9], atol=1e-9
    )
    assert image.attributes["PixelIntensityRelationshipSign"] == -1
    linear = radiograph(correct(raw, logarithm=False))
    assert linear.unit == "{counts}"
    assert linear.attributes["PixelIntensityRelationship"] == "LIN"
    with pytest.raises(NotFound, match="exposure 3"):
        radiograph(raw, view=3)


def test_bad_raw_data_is_refused(raw):
    counts = raw.samples.astype(np.float32)
    hole = counts.copy()
    hole[0, 3, 4] = np.nan
    with pytest.raises(ParameterError, match="1 of the raw counts are NaN"):
        correct(raw.with_samples(hole))
    with pytest.raises(ParameterError, match="negative"):
        correct(raw.with_samples(counts - 1e5))
    with pytest.raises(UnitError, match="corrected already"):
        correct(correct(raw))

    def calibrated(**other):
        kept = {k: v for k, v in {**raw.calibration, **other}.items() if v is not None}
        return replace(raw, calibration=kept)

    with pytest.raises(ParameterError, match="no flat field"):
        correct(calibrated(flat=None))
    with pytest.raises(GeometryError, match=r"flat image is \(96, 192\)"):
        correct(calibrated(flat=raw.calibration["flat"][:96]))
    with pytest.raises(GeometryError, match="defects"):
        correct(calibrated(defects=np.zeros((4, 4), bool)))
    with pytest.raises(ParameterError, match="tube on"):
        correct(calibrated(flat=raw.calibration["dark"]))
    with pytest.raises(ParameterError, match="NaN"):
        correct(calibrated(flat=np.full((192, 192), np.nan)))
