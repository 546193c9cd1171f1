"""Uptake of spheres of known activity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.analyze.measure.uptake import RADIUS, ball, peak, suv
from somascope.core import Image
from somascope.core.errors import ParameterError, UnitError
from somascope.testing import check_operation
from tests.analyze.measure import bodies


def case(spacing=(2.0, 2.0, 2.0)):
    at = bodies.grid(60.0, spacing)
    hot = bodies.ellipsoid(at, (12.0, 12.0, 12.0), centre=(12.0, 0.0, 0.0))
    liver = bodies.ellipsoid(at, (10.0, 10.0, 10.0), centre=(-16.0, 0.0, 0.0))
    values = np.where(hot, 8.0, np.where(liver, 2.0, 0.5)).astype(np.float32)
    return Image(values, at, "PT", "g/ml"), bodies.mask(at, hot, liver), hot


def test_a_sphere_of_even_uptake():
    image, mask, hot = case()
    values = np.array(image.data)
    spots = np.argwhere(hot)
    values[tuple(spots[np.linalg.norm(spots - spots.mean(axis=0), axis=1).argmin()])] = 20.0
    found = bodies.told(suv(Image(values, image.grid, "PT", "g/ml"), mask, segment=1, percent=30.0))
    assert found["SUVmax"][0] == 20
    # One voxel of 8 mm3 in a sphere of 1 ml.
    assert found["SUVpeak"][0] == pytest.approx(8 + 12 * 0.008, abs=0.01)
    volume, spread = found["Metabolic Volume"]
    assert spread is not None
    assert abs(volume - 4 / 3 * np.pi * 1.2**3) < 3 * spread
    assert found["Total Lesion Glycolysis"][0] == pytest.approx(volume * found["SUVmean"][0])
    assert found["SUVmean"][0] == pytest.approx(8.0, abs=0.05)


def test_the_rules():
    image, mask, hot = case()
    fuzzy = Image(gaussian_filter(image.data, 1.2), image.grid, "PT", "g/ml")
    inside = fuzzy.data[hot].astype(float)
    litres = image.grid.voxel_volume / 1000
    for rule, more, limit in (
        ("percent", {"percent": 50.0}, 0.5 * inside.max()),
        ("value", {"value": 6.0}, 6.0),
        ("segment", {}, 0.0),
    ):
        found = bodies.told(suv(fuzzy, mask, rule=rule, segment=1, **more))
        kept = inside[inside >= limit]
        assert found["Metabolic Volume"][0] == pytest.approx(kept.size * litres), rule
        assert found["SUVmean"][0] == pytest.approx(kept.mean()), rule


def test_percist_is_told_from_the_liver():
    image, mask, _ = case()
    noise = np.random.default_rng(0).normal(0, 0.2, image.shape).astype(np.float32)
    noisy = Image(np.asarray(image.data) + noise, image.grid, "PT", "g/ml")
    made = suv(noisy, mask, rule="percist", liver=2)
    assert {m.tracking.name for m in made if m.tracking} == {"Part 1"}
    said = bodies.told(made)["SUV above which the lesion is measured"][0]
    assert said == pytest.approx(1.5 * 2.0 + 2 * 0.2, abs=0.03)
    with pytest.raises(ParameterError, match="liver"):
        suv(noisy, mask, rule="percist")


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5), (12.0, 4.0, 4.0)])
def test_the_ball_holds_a_millilitre(spacing):
    at = bodies.grid(80.0, spacing)
    weights = ball(at)
    assert weights.sum() == pytest.approx(1)
    # A voxel whole within the sphere has the share of its volume in 1 ml.
    assert weights.max() == pytest.approx(min(at.voxel_volume / 1000, 1), rel=0.06)
    assert np.array_equal(weights, weights[::-1, ::-1, ::-1])
    reach = np.abs(np.argwhere(weights > 0) - np.array(weights.shape) // 2).max(axis=0)
    assert (reach * spacing <= RADIUS + np.array(spacing)).all()


def test_the_peak_of_a_gradient_is_at_its_middle():
    at = bodies.grid(40.0, (2.0, 2.0, 2.0), seed=0)
    rise = bodies.world(at)[..., 0]
    inside = np.zeros(at.shape, bool)
    inside[10, 10, 10] = True
    # The mean of a straight slope over a ball is its value in the middle.
    assert peak(rise, inside, at) == pytest.approx(rise[10, 10, 10], abs=1e-6)
    corner = np.zeros(at.shape, bool)
    corner[0, 0, 0] = True
    even = np.full(at.shape, 3.0)
    even[19] = np.nan
    assert peak(even, corner, at) == pytest.approx(3.0)


def test_concentrations_become_suv():
    image, mask, _ = case()
    facts = {"PatientWeight": 70.0, "CorrectedImage": ["ATTN", "DECY"], "DecayCorrection": "ADMIN",
             "Units": "BQML", "RadiopharmaceuticalInformationSequence": [
                 {"RadionuclideTotalDose": 3.5e8, "RadionuclideHalfLife": 6586.2,
                  "RadiopharmaceuticalStartTime": "100000"}],
             "SeriesDate": "20260101", "SeriesTime": "110000", "AcquisitionDate": "20260101",
             "AcquisitionTime": "110000"}  # fmt: skip
    counts = Image(np.asarray(image.data) * 5000, image.grid, "PT", "Bq/ml", attributes=facts)
    found = suv(counts, mask, rule="segment", segment=1)
    # 40 kBq/ml * 70 kg / 350 MBq
    assert bodies.told(found)["SUVmax"][0] == pytest.approx(8.0, rel=1e-5)
    assert {m.unit for m in found} == {"g/ml", "ml", "g"}
    with pytest.raises(UnitError):
        suv(Image(np.asarray(image.data), image.grid, "PT", "Bq/ml"), mask)


def test_five_doors():
    image, mask, _ = case((4.0, 4.0, 4.0))
    check_operation("analyze.suv", inputs=(image, mask))
