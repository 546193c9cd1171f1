"""The simulated scanner: units, dose, spectrum, geometry, seeds."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.hounsfield import HU, from_hu, mu_water, to_hu
from somascope.acquire.ct.simulate import simulate
from somascope.acquire.ct.spectrum import attenuation, effective_mu, tungsten
from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.io.dicom.write import instances
from somascope.phantoms import Ellipsoid, draw, shepp_logan
from somascope.testing import check_operation

GRID = Grid.from_spacing((1, 64, 64), (2, 2, 2), origin=(-63, -63, 0))
BODY = [Ellipsoid(0.0, (0, 0, 0), (50, 40, 50)), Ellipsoid(1000.0, (15, 0, 0), (8, 8, 50))]
CT = Image(draw(BODY, GRID, background=-1000.0), GRID, "CT", HU, attributes={"PatientID": "A"})


def test_the_attenuation_is_that_of_the_tables():
    # Hubbell and Seltzer at their own energies, and water at 70 keV (0.1929 /cm).
    assert attenuation("water", np.array([60.0, 100.0])) == pytest.approx(
        [0.02059, 0.01707], rel=5e-4
    )
    assert attenuation("aluminium", np.array([60.0])) == pytest.approx([0.2778 * 0.2699], rel=5e-4)
    assert mu_water(70.0) == pytest.approx(0.01929, rel=0.01)
    with pytest.raises(ParameterError, match="from 10 to 150 keV"):
        attenuation("bone", np.array([5.0]))


def test_the_beam_hardens():
    energy, share = tungsten(120)
    assert share.sum() == pytest.approx(1)
    assert energy.max() < 120
    assert 50 < share @ energy < 75
    thin = effective_mu("water", 120)
    deep = -np.log(share @ np.exp(-attenuation("water", energy) * 300)) / 300
    assert 0.8 * thin < deep < 0.97 * thin
    with pytest.raises(ParameterError, match="40 to 150"):
        tungsten(400)


def test_hounsfield_units_and_back():
    hu = np.array([-1000.0, 0.0, 1000.0, -2000.0], np.float32)
    assert from_hu(hu, 0.02) == pytest.approx([0, 0.02, 0.04, 0])
    assert to_hu(from_hu(hu, 0.02), 0.02) == pytest.approx([-1000, 0, 1000, -1000])


@pytest.mark.parametrize("unit", [HU, "/mm", "/cm", "1"])
def test_every_unit_gives_the_same_lines(unit: str):
    water = mu_water()
    relative = CT.data / 1000 + 1
    scale = {HU: None, "/mm": water, "/cm": 10 * water, "1": 1.0}[unit]
    image = CT if scale is None else CT.with_data(relative * scale, unit=unit)
    found = simulate(image, views=20)
    assert np.abs(found.samples - simulate(CT, views=20).samples).max() < 1e-3
    middle = found.samples[0, found.samples.shape[1] // 2]
    assert middle == pytest.approx(80 * water, rel=0.03)  # along P through 2 x 40 mm of water
    assert found.calibration["mu_water"] == pytest.approx(water)
    assert found.attributes["PatientID"] == "A"


def test_counts_have_the_dose_and_its_noise():
    dose = 2e4
    air = CT.with_data(np.full(CT.shape, -1000.0, np.float32))
    shot = simulate(air, views=200, photons=dose, electronic=100.0, result="counts", seed=5)
    assert shot.unit == "{counts}"
    assert shot.samples.mean() == pytest.approx(dose, rel=1e-3)
    assert shot.samples.var() == pytest.approx(dose + 100.0**2, rel=0.05)
    assert shot.calibration["flat"].shape == shot.samples.shape[1:]
    assert (shot.calibration["flat"] == dose).all()
    again = simulate(air, views=200, photons=dose, electronic=100.0, result="counts", seed=5)
    other = simulate(air, views=200, photons=dose, electronic=100.0, result="counts", seed=6)
    assert np.array_equal(shot.samples, again.samples)
    assert not np.array_equal(shot.samples, other.samples)


def test_a_polychromatic_beam_cups_and_bone_hardens_more():
    disk = [Ellipsoid(0.0, (0, 0, 0), (60, 60, 50))]
    water = Image(draw(disk, GRID, background=-1000.0), GRID, "CT", HU)
    cupped = fbp(simulate(water, views=120, kvp=80), kernel="hann").data[0]
    plain = fbp(simulate(water, views=120), kernel="hann").data[0]
    centre, rim = np.s_[28:36, 28:36], np.s_[28:36, 5:8]
    assert abs(plain[centre].mean()) < 6
    assert cupped[centre].mean() < cupped[rim].mean() - 15


@pytest.mark.parametrize("geometry", ["parallel", "fan", "cone", "helical"])
def test_a_scan_covers_the_image(geometry: str):
    volume = shepp_logan((6, 24, 24))
    scan = simulate(volume, geometry=geometry, views=40, rows=16 if geometry != "cone" else None)
    edges = (scan.samples[..., 0], scan.samples[..., -1])
    assert all(np.abs(edge).max() < 1e-3 for edge in edges)
    assert scan.operator.kind == f"ct.{geometry}"
    assert scan.samples.max() > 1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ParameterError, match="without a number of photons"):
        simulate(CT, electronic=3.0)
    with pytest.raises(ParameterError, match="counts need"):
        simulate(CT, result="counts")
    with pytest.raises(UnitError, match="'mm2/s'"):
        simulate(CT.with_data(CT.data, unit="mm2/s"))
    unnamed = CT.with_data(CT.data, unit="1")
    with pytest.raises(UnitError, match="values=HU"):
        simulate(unnamed)
    named = simulate(unnamed, views=20, values="HU")
    assert np.array_equal(named.samples, simulate(CT, views=20).samples)
    with pytest.raises(UnitError, match="not finite"):
        simulate(CT.with_data(np.full(CT.shape, np.nan)))
    with pytest.raises(GeometryError, match="leading axes"):
        simulate(Image(CT.data[None], GRID, "CT", HU, (Axis("t", (0.0,)),)))
    with pytest.raises(GeometryError, match="does not go around"):
        simulate(CT, geometry="fan", source=50.0)


def test_the_operation_keeps_its_contract_and_its_image_becomes_dicom():
    check_operation("acquire.ct.simulate", params={"views": 12}, inputs=(shepp_logan((24, 24)),))
    files = instances(fbp(simulate(shepp_logan((24, 24)), views=40)))
    assert len(files) == 1
