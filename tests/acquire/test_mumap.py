"""The mu-map: published coefficients, two materials at other energies, another grid."""

import numpy as np
import pytest

from somascope.acquire import mumap
from somascope.core import Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError

HU = "[hnsf'U]"


def ct(data, spacing=(2.0, 2.0, 2.0), **more):
    data = np.asarray(data, np.float32)
    return Image(data, Grid.from_spacing(data.shape, spacing), "CT", HU, **more)


@pytest.mark.parametrize(
    ("kvp", "a", "b", "turn"),
    [(80, 3.64e-5, 6.26e-2, 1050), (120, 5.10e-5, 4.71e-2, 1047), (140, 5.64e-5, 4.08e-2, 1030)],
)
def test_table_of_carney(kvp, a, b, turn):
    hu = np.array([-1000, -500, 0, turn - 1000 + 1, 300, 1000, 2000], np.float32)
    above = hu + 1000
    expected = np.where(above <= turn, 9.6e-5 * above, a * above + b)
    np.testing.assert_allclose(
        mumap.attenuation_of(hu, energy_kev=511, kvp=kvp), expected, rtol=1e-5
    )


def test_the_two_lines_meet_and_bone_is_the_same_for_every_tube():
    bone = mumap.coefficient("bone", 511)
    assert bone == pytest.approx(0.1720, rel=0.01)  # 1.92 g/cm3, NIST
    for kvp in (80, 100, 120, 130, 140):
        low, high, b, turn = mumap.bilinear(511, kvp)
        assert high * turn + b == pytest.approx(low * turn, rel=0.005)
    hu = [(bone - mumap.bilinear(511, k)[2]) / mumap.bilinear(511, k)[1] for k in (80, 120, 140)]
    assert hu[0] > hu[1] > hu[2]  # a softer beam shows bone brighter


@pytest.mark.parametrize(("energy", "water"), [(140.5, 0.1536), (364.5, 0.1100), (510.0, 0.0961)])
def test_water_and_bone_at_other_energies(energy, water):
    mu = mumap.attenuation_of(np.array([-1000.0, 0.0]), energy_kev=energy)
    assert mu[0] == 0
    assert mu[1] == pytest.approx(water, rel=0.006)  # NIST, interpolated
    low, high, b, turn = mumap.bilinear(energy, 120)
    assert high * turn + b == pytest.approx(low * turn, rel=1e-6)
    seen = (mumap.coefficient("bone", 511) - 4.71e-2) / 5.10e-5
    assert high * seen + b == pytest.approx(mumap.coefficient("bone", energy), rel=1e-6)


def test_the_general_model_is_the_table_at_511():
    hu = np.linspace(-1000, 2000, 61)
    for kvp in (80, 120, 140):
        general = mumap.attenuation_of(hu, energy_kev=509.9, kvp=kvp)
        table = mumap.attenuation_of(hu, energy_kev=511, kvp=kvp)
        assert np.abs(general - table).max() < 0.01 * table.max()


def test_mu_map_of_an_image_knows_its_tube():
    image = ct(np.full((2, 3, 4), 1000.0), attributes={"KVP": 80, "WindowWidth": 400.0})
    made = mumap.mu_map(image, energy_kev=511)
    assert made.unit == "/cm"
    assert made.grid == image.grid
    assert made.data[0, 0, 0] == pytest.approx(3.64e-5 * 2000 + 6.26e-2, rel=1e-5)
    assert "WindowWidth" not in made.attributes
    given = mumap.mu_map(image, energy_kev=511, kvp=140)
    assert given.data[0, 0, 0] == pytest.approx(5.64e-5 * 2000 + 4.08e-2, rel=1e-5)


def test_a_mu_map_stays_one():
    image = Image(np.full((1, 2, 2), 0.0096, np.float32), Grid.from_spacing((1, 2, 2), (1, 1, 1)),
                  "CT", "/mm")  # fmt: skip
    assert mumap.mu_map(image, energy_kev=511).data.max() == pytest.approx(0.096)


def test_resampling_keeps_the_integral_and_the_place():
    data = np.zeros((24, 32, 32), np.float32)
    data[8:16, 10:22, 12:20] = 1.0
    image = ct(data, (1.0, 1.0, 1.0))
    coarse = Grid.from_spacing((8, 10, 10), (3.0, 3.2, 3.2), origin=(1.1, 1.1, 1.0))
    moved = mumap.resample_to(image, coarse)
    total = data.sum() * image.grid.voxel_volume
    assert moved.data.sum() * coarse.voxel_volume == pytest.approx(total, rel=0.02)

    def centre(im):
        index = np.stack(np.meshgrid(*map(np.arange, im.grid.shape), indexing="ij"), axis=-1)
        where = im.grid.to_world(index)
        return (where * im.data[..., None]).sum(axis=(0, 1, 2)) / im.data.sum()

    np.testing.assert_allclose(centre(moved), centre(image), atol=0.1)


def test_resampling_turns_with_the_grid():
    rng = np.random.default_rng(0)
    image = ct(rng.normal(size=(4, 5, 6)), (2.0, 2.0, 2.0))
    flipped = Grid.from_spacing(
        (4, 5, 6), (2, 2, 2), origin=(10, 8, 6), direction=[[0, 0, -1], [0, -1, 0], [-1, 0, 0]]
    )
    moved = mumap.resample_to(image, flipped)
    np.testing.assert_allclose(moved.data, image.data[::-1, ::-1, ::-1], atol=1e-6)


def test_outside_is_air():
    image = ct(np.ones((4, 4, 4)))
    far = Grid.from_spacing((2, 2, 2), (2, 2, 2), origin=(500, 0, 0))
    assert not mumap.resample_to(image, far).data.any()


def test_refusals():
    with pytest.raises(ParameterError, match="kvp is 70"):
        mumap.attenuation_of(np.zeros(1), energy_kev=511, kvp=70)
    with pytest.raises(ParameterError, match="1000 keV"):
        mumap.coefficient("water", 1000)
    with pytest.raises(ParameterError, match="water or bone"):
        mumap.coefficient("lead", 140)
    with pytest.raises(UnitError, match="'1'"):
        mumap.mu_map(Image(np.zeros((1, 1, 1)), Grid.from_spacing((1, 1, 1), (1, 1, 1))),
                     energy_kev=511)  # fmt: skip
    with pytest.raises(UnitError, match="finite"):
        mumap.mu_map(ct(np.full((1, 1, 1), np.nan)), energy_kev=511)
    here = Grid.from_spacing((1, 1, 1), (1, 1, 1), frame_of_reference="1.2.3")
    there = Grid.from_spacing((2, 1, 1), (1, 1, 1), frame_of_reference="1.2.4")
    with pytest.raises(GeometryError, match=r"1\.2\.3"):
        mumap.resample_to(Image(np.zeros((1, 1, 1)), here), there)
