"""A body like NEMA's with everything on: activity is right after correction, and wrong without."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet.attenuation import attenuation, survival
from somascope.acquire.pet.osem import osem
from somascope.acquire.pet.randoms import randoms
from somascope.acquire.pet.realism import added, as_measured
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.scatter import scatter
from somascope.acquire.pet.simulate import measure, simulate
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError
from somascope.jobs.resolve import nouns_of
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.nema import nema_shapes

SCANNER = Scanner(name="Small body", rings=8, crystals=128, radius=370.0, ring_spacing=18.0,
                  depth=10.0, block=(4, 8), radial_bins=65)  # fmt: skip
GRID = Grid.from_spacing((16, 40, 40), (9.0, 9.0, 9.0), origin=(-175.5, -175.5, -67.5),
                         frame_of_reference="1.2.3.10")  # fmt: skip
BACKGROUND = 5000.0
BODY = [Ellipsoid(1.0, (0, 0, 0), (150, 115, 420)), Ellipsoid(0.27, (0, 0, 0), (25, 25, 900))]


@pytest.fixture(scope="module")
def world():
    """Activity and CT of the body."""
    activity = Image(
        draw(nema_shapes(background=BACKGROUND), GRID).astype(np.float32), GRID, "PT", "Bq/ml",
        attributes={
            "RadiopharmaceuticalInformationSequence": [{"RadionuclideHalfLife": 6586.2}],
            "PatientName": "Body^Truth",
        },
    )  # fmt: skip
    water = draw(BODY, GRID).astype(np.float32)
    ct = Image(water * 1000 - 1000, GRID, "CT", "[hnsf'U]", attributes={"KVP": 120.0})
    return activity, ct


@pytest.fixture(scope="module")
def measured(world):
    """What the scanner counted in 4 minutes: attenuation, scatter of all orders, randoms, noise."""
    activity, ct = world
    scan = SinogramScan(grid=GRID, scanner=SCANNER)
    facts = {**activity.attributes, "ActualFrameDuration": 240000.0}
    calibration = added(
        scan, activity.data, ct, attributes=facts, kind="photons", uneven=0.1, dead=1e-8,
        randoms=0.3, seed=4,
        calibration={
            "sensitivity": np.array(SCANNER.sensitivity), "attenuation": survival(scan, ct)
        },
    )  # fmt: skip
    counts, calibration = measure(
        scan, activity.data, calibration=calibration, attributes=facts, randoms=0.3, seed=4
    )
    return Acquisition(
        counts, scan, "PT", unit="{counts}", calibration=calibration, attributes=facts
    )


def large_region():
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1)
    world = GRID.to_world(index)
    around = np.hypot(world[..., 0], world[..., 1])
    inside = (world[..., 0] / 125) ** 2 + (world[..., 1] / 90) ** 2 < 1
    spheres = (np.abs(world[..., 2]) < 35) & (np.abs(around - 57.2) < 32)
    return inside & ~spheres & (around > 45) & (np.abs(world[..., 2]) < 56)


def mean(acquisition):
    image = osem(acquisition, iterations=4, subsets=4)
    assert image.unit == "Bq/ml"
    return float(image.data[large_region()].mean()) / BACKGROUND


def without(acquisition, name):
    kept = {k: v for k, v in acquisition.calibration.items() if k != name}
    return replace(acquisition, calibration=kept)


def test_activity_after_correction_is_right_within_three_per_cent(world, measured):
    _, ct = world
    seen = without(as_measured(measured, seed=4), "attenuation")
    assert set(seen.calibration) == {"sensitivity", "normalisation", "live_time", "delayed"}
    corrected = scatter(randoms(attenuation(seen, ct)), ct)
    assert mean(corrected) == pytest.approx(1.0, abs=0.03)
    wrong = {
        "scatter": mean(without(corrected, "scatter")),
        "randoms": mean(without(corrected, "randoms")),
        "attenuation": mean(without(corrected, "attenuation")),
        "live_time": mean(without(corrected, "live_time")),
    }
    assert wrong["scatter"] > 1.15
    assert wrong["randoms"] > 1.15
    assert wrong["attenuation"] < 0.5
    assert wrong["live_time"] < mean(corrected)
    truth = measured.calibration["scatter"]
    found = corrected.calibration["scatter"]
    assert found.sum() == pytest.approx(truth.sum(), rel=0.04)
    profile = [f.sum(axis=(0, 1))[15:-15] for f in (found, truth)]
    np.testing.assert_allclose(profile[0], profile[1], rtol=0.08)
    said = osem(corrected, iterations=1, subsets=4).attributes
    assert {"ATTN", "SCAT", "RAN", "NORM", "DTIM"} <= set(said["CorrectedImage"])
    assert said["DeadTimeFactor"] > 1.001
    assert said["RandomsCorrectionMethod"] == "DLYD"
    assert 0.2 < said["ScatterFractionFactor"] < 0.4


def test_expected_counts_are_what_the_model_says(world, measured):
    """The simulator and the model of the reconstruction are one: no bias in the sum of counts."""
    from somascope.acquire.pet.model import background, factors

    activity, _ = world
    expected = measured.operator.forward(activity.data) * factors(measured)
    expected = expected + background(measured)
    total = float(expected.sum(dtype=np.float64))
    assert abs(float(measured.samples.sum(dtype=np.float64)) - total) < 5 * np.sqrt(total)


def test_the_operation_takes_all_of_it(world):
    activity, ct = world
    raw = simulate(activity, ct, scanner="tiny", duration=60.0, randoms=0.2, scatter="single",
                   uneven=0.1, dead_time=1.0, seed=1)  # fmt: skip
    names = {"attenuation", "scatter", "randoms", "normalisation", "live_time", "decay"}
    assert names <= set(raw.calibration)
    seen = simulate(activity, ct, scanner="tiny", duration=60.0, randoms=0.2, known=False, seed=1)
    assert "delayed" in seen.calibration
    assert "randoms" not in seen.calibration
    with pytest.raises(GeometryError, match="body"):
        simulate(activity, scanner="tiny", scatter="single")
    timed = simulate(activity, ct, scanner="tiny", duration=60.0, scatter="single", tof=True)
    assert timed.calibration["scatter"].shape == timed.samples.shape


def test_a_scan_without_attenuation_is_asked_for_with_one_input():
    """An operation whose last input is a list takes none of it, through every door."""
    asked = simulate.operation
    assert nouns_of(asked, 1) == ["Image"]
    assert nouns_of(asked, 2) == ["Image", "Image[]"]
    with pytest.raises(ParameterError, match="0 given"):
        nouns_of(asked, 0)
