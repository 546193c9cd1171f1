"""Counts against the closed form and against counting statistics."""

import numpy as np
import pytest

from somascope.acquire.matter import mass_attenuation
from somascope.acquire.xray.detector import Detector
from somascope.acquire.xray.expose import Beam, Collimator, expose
from somascope.acquire.xray.simulate import simulate
from somascope.acquire.xray.views import radiograph_views
from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError, UnitError
from somascope.phantoms import Ellipsoid, draw, line_integrals, thorax_ct
from somascope.testing import check_operation
from tests.acquire.xray.conftest import SMALL

PERFECT = Detector(
    blur=0, electronic_noise=0, offset=0, gain_variation=0, defects=0, defect_lines=0
)


def air(shape=(8, 8, 8)):
    grid = Grid.from_spacing(shape, (20.0, 20.0, 20.0), origin=(-70, -70, -70))
    return np.full(shape, -1000, np.int16), grid


def test_polychromatic_signal_of_water_and_bone_is_the_closed_form():
    grid = Grid.from_spacing((64, 80, 80), (3.0, 3.0, 3.0), origin=(-118.5, -118.5, -94.5))
    # Summed in Hounsfield units above air: a water body, and in it a bone of 1500 HU.
    body, bone = ((0, 0, 0), (95, 75, 80)), ((25, 5, 10), (22, 18, 30))
    shapes = [Ellipsoid(1000, *body), Ellipsoid(1500, *bone)]
    hu = draw(shapes, grid, background=-1000, summed=True)
    scan = radiograph_views(grid, ["PA"], shape=(64, 64), pitch=3.6)
    beam = Beam(kvp=90, mas=1)
    exposed = expose(hu, scan, beam=beam, detector=PERFECT, noise=False)

    def chord(which):
        return line_integrals([Ellipsoid(1.0, *which)], scan.sources[0], scan.pixels(0)) / 10

    spectrum = beam.spectrum
    kev, _ = PERFECT.weights(spectrum)
    mu = {m: mass_attenuation(m, spectrum.energies) for m in ("water", "bone")}
    at70 = [float(mass_attenuation(m, 70.0)[0]) for m in ("water", "bone")]
    water = (chord(body) - chord(bone))[..., None]
    mineral = (2.5 * at70[0] / at70[1] * chord(bone))[..., None]
    truth = -np.log((np.exp(-water * mu["water"] - mineral * mu["bone"]) @ kev) / kev.sum())
    gap = exposed.line_integrals[0] - truth
    inner = truth > 0.6 * truth.max()
    assert np.abs(gap).mean() < 0.004 * truth.max()
    assert np.sqrt((gap[inner] ** 2).mean()) < 0.01 * truth.max()
    # Beam hardening is there: not what one energy would give.
    assert truth.max() < 0.97 * (water * mu["water"][0] + mineral * mu["bone"][0]).max()


def test_noise_is_that_of_counted_quanta_and_falls_with_dose():
    hu, grid = air()
    scan = radiograph_views(grid, ["PA"], shape=(128, 128), pitch=0.2)
    beam = Beam(kvp=70, mas=0.5, aluminium=23.5)
    kev, kev2 = PERFECT.weights(beam.spectrum)
    noise = {}
    for mas in (0.5, 2.0):
        exposed = expose(
            hu, scan, beam=Beam(kvp=70, mas=mas, aluminium=23.5), detector=PERFECT, seed=3
        )
        signal = exposed.counts[0].astype(float)
        noise[mas] = (signal - exposed.ideal[0]).std() / exposed.ideal.mean()
        quanta = mas / 0.5 * 0.04 / 1.8**2 * kev.sum() ** 2 / kev2.sum()
        rounding = (1 / 12) / exposed.ideal.mean() ** 2
        assert noise[mas] == pytest.approx(np.sqrt(1 / quanta + rounding), rel=0.03)
        assert signal.mean() == pytest.approx(exposed.ideal.mean(), rel=3e-3)
    assert noise[0.5] / noise[2.0] == pytest.approx(2.0, rel=0.04)


def test_open_beam_has_the_dose_of_the_tube():
    """Counts of an open RQA 5 beam at 1.8 m: sensitivity times air kerma, falling off sideways."""
    hu, grid = air()
    scan = radiograph_views(grid, ["PA"], shape=(33, 33), pitch=20.0)
    beam = Beam(kvp=70, mas=3.0, aluminium=23.5)
    ideal = expose(hu, scan, beam=beam, detector=PERFECT, noise=False).ideal[0]
    assert ideal[16, 16] == pytest.approx(1000 * beam.spectrum.kerma / 1.8**2, rel=1e-6)
    slope = np.hypot(1800, 320 * np.sqrt(2)) / 1800  # cos^3 at the corner
    assert ideal[0, 0] / ideal[16, 16] == pytest.approx(slope**-3, rel=1e-6)


def test_blades_cover_what_they_say():
    hu, grid = air()
    scan = radiograph_views(grid, ["PA"], shape=(50, 60), pitch=1.0)
    blades = Collimator((5.0, 10.0, 7.5, 20.0), transmission=0.001, penumbra=0.0)
    args = {"beam": Beam(), "detector": PERFECT, "noise": False}
    share = expose(hu, scan, collimator=blades, **args).ideal[0] / expose(hu, scan, **args).ideal[0]
    np.testing.assert_allclose(share[5:40, 8:40], 1.0)
    assert share[:5].max() == share[40:].max() == share[:, 40:].max() == pytest.approx(0.001)
    assert share[:, :7].max() == pytest.approx(0.001)


def test_a_seed_gives_the_same_counts_again(chest):
    few = {"rows": 24, "columns": 24, "pitch": 10.0}
    a, b, c = (simulate(chest, seed=s, **few) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.samples, b.samples)
    assert (a.samples != c.samples).mean() > 0.9
    assert a.samples.dtype == np.uint16


def test_it_keeps_patient_study_and_frame(chest, raw):
    for word in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert raw.attributes[word] == chest.attributes[word]
    assert raw.operator.grid.frame_of_reference == chest.grid.frame_of_reference
    assert raw.attributes["ViewPosition"] == "PA"
    assert raw.attributes["KVP"] == 120.0
    assert raw.attributes["EstimatedRadiographicMagnificationFactor"] == pytest.approx(1.125)
    assert raw.provenance.steps[-1].operation == "acquire.xray.simulate"
    assert set(raw.calibration) == {"flat", "dark", "defects", "flat_exposure", "lag"}


def test_the_bead_of_the_left_is_right_in_the_picture(chest):
    """The bead on the skin of the patient's left, 60 mm above the middle, by its shadow alone."""
    bead = np.array([181.0, -12.0, 60.0])
    z, y, x = np.indices(chest.grid.shape)
    there = np.linalg.norm(chest.grid.to_world(np.stack([z, y, x], -1)) - bead, axis=-1) < 8
    alone = Image(np.where(there, chest.data, -1000), chest.grid, "CT", "[hnsf'U]")
    scan = radiograph_views(chest.grid, ["PA"], shape=(192, 192), pitch=2.2)
    shadow = expose(alone.data, scan, beam=Beam(), detector=PERFECT, noise=False).line_integrals[0]
    assert shadow.max() > 0.1
    weight = shadow / shadow.sum()
    found = (scan.pixels(0) * weight[..., None]).sum(axis=(0, 1))
    source = scan.sources[0]
    hit = source + (bead - source) * (found[1] - source[1]) / (bead[1] - source[1])
    assert np.linalg.norm(hit - found) < 2.5
    assert shadow[:, 96:].max() > 0.1
    assert shadow[:, :96].max() < 1e-9


def test_what_cannot_be_radiographed_is_refused(chest):
    with pytest.raises(UnitError, match="Hounsfield"):
        simulate(Image(chest.data, chest.grid, "CT", "1"))
    with pytest.raises(ParameterError, match="NaN"):
        simulate(Image(np.full(chest.grid.shape, np.nan), chest.grid, "CT", "[hnsf'U]"))
    twice = Image(
        np.stack([chest.data, chest.data]), chest.grid, "CT", "[hnsf'U]", axes=(Axis("t"),)
    )
    with pytest.raises(ParameterError, match=r"image\.at"):
        simulate(twice)
    with pytest.raises(ParameterError, match="between"):
        simulate(chest, source_to_detector=1000.0, source_to_centre=1200.0)
    with pytest.raises(ParameterError, match="kvp"):
        simulate(chest, kvp=300.0)


def test_the_operation_keeps_its_contract():
    small = thorax_ct(Grid.from_spacing((6, 12, 12), (40, 32, 32), origin=(-176, -176, -100)))
    check_operation("acquire.xray.simulate", params={**SMALL, "rows": 16, "columns": 16},
                    inputs=(small,))  # fmt: skip
