"""Attenuation and beams against NIST, IEC and SpekPy."""

import numpy as np
import pytest

from somascope.acquire.matter import (
    REFERENCE_KEV,
    air_absorption,
    attenuation,
    mass_attenuation,
    tissue_densities,
)
from somascope.acquire.tube import rqa, tungsten
from somascope.acquire.xray.detector import Detector
from somascope.core.errors import ParameterError


@pytest.mark.parametrize(
    ("material", "kev", "published"),
    [  # NIST, tables 3 and 4: the compounds' own rows, not the elements they are mixed from here
        ("water", 20, 0.8096), ("water", 60, 0.2059), ("water", 100, 0.1707),
        ("bone", 20, 4.001), ("bone", 60, 0.3148), ("bone", 100, 0.1855),
        ("soft tissue", 30, 0.3790), ("soft tissue", 80, 0.1823),
        ("adipose", 40, 0.2396), ("air", 50, 0.2080), ("air", 150, 0.1356),
        ("PMMA", 60, 0.1924), ("caesium iodide", 50, 12.87), ("caesium iodide", 100, 2.035),
    ],
)  # fmt: skip
def test_mixtures_have_the_published_coefficients(material, kev, published):
    assert mass_attenuation(material, kev)[0] == pytest.approx(published, rel=0.005)


def test_edges_are_steps():
    below, above = mass_attenuation("tungsten", [69.5, 69.6])
    assert above / below > 4.3
    csi = mass_attenuation("caesium iodide", [33.1, 33.2, 35.9, 36.1])
    assert csi[1] > 2 * csi[0]
    assert csi[3] > 1.4 * csi[2]


def test_energies_and_materials_outside_the_tables_are_refused():
    with pytest.raises(ParameterError, match="150 keV"):
        mass_attenuation("water", 200)
    with pytest.raises(ParameterError, match="custard"):
        attenuation("custard", 60)
    with pytest.raises(ParameterError, match="150 kV"):
        tungsten(200)


# Half-value layer of IEC 61267, and photons per mm2 and uGy of IEC 62220-1-1:2015, table 2.
@pytest.mark.parametrize(
    ("number", "layer", "quanta"),
    [(3, 3.8, 20673), (5, 6.8, 29653), (7, 9.2, 32490), (9, 11.6, 31007)],
)
def test_standard_radiation_qualities(number, layer, quanta):
    beam = rqa(number)
    assert beam.half_value_layer() == pytest.approx(layer, rel=0.04)
    assert beam.fluence.sum() / beam.kerma == pytest.approx(quanta, rel=0.02)


# SpekPy 2.5.4, 12 degrees, 2.5 mm Al: kerma in uGy per mAs at 1 m, half-value layer in mm Al.
@pytest.mark.parametrize(
    ("kvp", "kerma", "layer"),
    [(50, 33.36, 1.750), (60, 48.90, 2.082), (80, 81.98, 2.734), (100, 118.9, 3.458),
     (120, 158.7, 4.219), (150, 222.8, 5.372)],
)  # fmt: skip
def test_tube_output_is_spekpys(kvp, kerma, layer):
    beam = tungsten(kvp)
    assert beam.kerma == pytest.approx(kerma, rel=0.03)
    assert beam.half_value_layer() == pytest.approx(layer, rel=0.02)


def test_kerma_of_one_energy():
    """10^6 photons/mm2 of 60 keV in air: E fluence mu_en/rho, with NIST's 0.03041 cm2/g."""
    assert air_absorption(np.array([60.0]))[0] == pytest.approx(0.03041)
    beam = tungsten(80).scaled(0)
    beam.fluence[int(np.argmin(np.abs(beam.energies - 60.5)))] = 1e6
    joule = 60.5e3 * 1.602176634e-19
    expected = 1e6 * 1e6 * joule * float(air_absorption(np.array([60.5]))[0]) * 0.1  # J/kg
    assert beam.kerma == pytest.approx(expected * 1e6, rel=1e-6)


def test_filters_harden():
    beam = tungsten(100)
    harder = beam.filtered("copper", 0.3)
    assert harder.mean_energy > beam.mean_energy + 4
    assert harder.kerma < 0.4 * beam.kerma
    half = beam.filtered("aluminium", beam.half_value_layer())
    assert half.kerma == pytest.approx(beam.kerma / 2, rel=1e-6)


def test_tissue_gives_its_hounsfield_value_back():
    hu = np.array([-1024.0, -1000, -860, -95, 0, 40, 99, 300, 800, 1500, 3000])
    water, bone = tissue_densities(hu)
    mu = [float(mass_attenuation(m, REFERENCE_KEV)[0]) for m in ("water", "bone")]
    back = 1000 * ((water * mu[0] + bone * mu[1]) / mu[0] - 1)
    np.testing.assert_allclose(back, np.maximum(hu, -1000), atol=0.05)
    assert bone[:7].max() == 0
    assert water[-1] == water[-2] == 0
    assert (np.diff(bone[6:]) > 0).all()


def test_the_detectors_gain_is_its_sensitivity():
    detector = Detector(sensitivity=750.0)
    beam = rqa(5)
    kev, _ = detector.weights(beam)
    counts = kev.sum() * 0.04 * detector.counts_per_kev(0.04) / beam.kerma
    assert counts == pytest.approx(750.0)
