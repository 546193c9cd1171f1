"""Random changes of values: each does what its number says, and the same number does it again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.learn.augment import NONE, Thing, draw, lattice, recoloured, sampled

PLAIN = {"shade": 0.0}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_shading_is_a_smooth_gain_above_the_darkest(dimensions):
    one = draw(PLAIN, np.random.default_rng(0), dimensions=dimensions)
    # One voxel is the darkest, and by so much that the gain of all others can be told.
    values = torch.rand(1, *[12] * dimensions, generator=torch.Generator().manual_seed(0)) / 2
    values[(0, *[5] * dimensions)] = -0.5
    assert torch.allclose(recoloured(values, one), values, atol=1e-6)
    corner = np.zeros([3] * dimensions)
    corner[(0,) * dimensions] = np.log(2.0)
    found = recoloured(values, replace(one, shade=corner))
    gain = (found - values.min()) / (values - values.min()).clamp_min(1e-9)
    gain = torch.where(values > values.min(), gain, torch.ones(()))
    assert float(gain[(0, *[0] * dimensions)]) == pytest.approx(2.0, abs=1e-3)
    assert float(gain[(0, *[11] * dimensions)]) == pytest.approx(1.0, abs=1e-3)
    steps = torch.diff(gain.reshape(-1, 12), dim=1)
    assert float(steps.max()) < 1e-3


def test_shading_is_drawn_only_where_a_plan_has_it():
    same, shaded = (
        draw(spec, np.random.default_rng(4), dimensions=2)
        for spec in ({"noise": 0.1}, {"noise": 0.1, "shade": 0.3})
    )
    assert same.shade is None
    assert shaded.shade.shape == (3, 3)
    assert (same.noise, same.seed) == (shaded.noise, shaded.seed)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("swell", [0.6, -0.3])
def test_what_is_labelled_shrinks_and_swells_where_it_is(dimensions, swell):
    shape = [41] * dimensions
    index = np.stack(np.meshgrid(*[np.arange(41)] * dimensions, indexing="ij"), -1)
    middle = np.array([17.0, 23.0, 19.0][:dimensions])
    away = np.linalg.norm(index - middle, axis=-1)
    thing = Thing.of(away <= 6)
    assert thing is not None
    assert np.allclose(thing.centre, middle)
    assert thing.radius == pytest.approx(6, rel=0.05)
    one = replace(draw(NONE, np.random.default_rng(0), dimensions=dimensions), swell=swell)
    grid = lattice(one, centre=[20.0] * dimensions, shape=shape, patch=shape, thing=thing)
    found = sampled(torch.from_numpy(away)[None].float(), grid)[0].numpy()
    # A point r from the middle shows what was at r (1 + swell exp(-(r / 2 R)^2)).
    want = away * (1 + swell * np.exp(-((away / (2 * thing.radius)) ** 2)))
    inside = (away > 2) & (away < 14)
    assert np.abs(found - want)[inside].max() < 0.2
    assert Thing.of(np.zeros(shape, bool)) is None


@pytest.mark.parametrize("dimensions", [2, 3])
def test_curves_keep_the_order_of_values_and_their_ends(dimensions):
    one = draw({"curve": 0.8}, np.random.default_rng(1), dimensions=dimensions)
    assert one.curve.shape == (2, 6)
    flat = torch.linspace(-1, 3, 8**dimensions)
    values = flat.reshape(1, *[8] * dimensions)
    same = replace(one, where=np.full([3] * dimensions, 50.0))  # the first curve everywhere
    found = recoloured(values, same).reshape(-1)
    assert (torch.diff(found) > 0).all()
    assert found[0] == pytest.approx(-1, abs=1e-5)
    assert found[-1] == pytest.approx(3, abs=1e-5)
    knots = np.interp(np.linspace(0, 1, len(flat)), np.linspace(0, 1, 6), one.curve[0])
    assert np.allclose(found.numpy(), 4 * knots - 1, atol=1e-4)
    other = recoloured(values, replace(one, where=np.full([3] * dimensions, -50.0))).reshape(-1)
    mixed = recoloured(values, one).reshape(-1)
    assert (mixed >= torch.minimum(found, other) - 1e-5).all()
    assert (mixed <= torch.maximum(found, other) + 1e-5).all()


def test_new_changes_leave_the_others_as_they_were():
    plain, more = (
        draw(spec, np.random.default_rng(4), dimensions=2)
        for spec in ({"noise": 0.1, "bend": 0.1},
                     {"noise": 0.1, "bend": 0.1, "swell": 0.4, "curve": 0.5})
    )  # fmt: skip
    assert (plain.swell, plain.curve) == (0.0, None)
    assert -0.33 <= more.swell <= 0.5
    assert np.array_equal(plain.bend, more.bend)
    assert (plain.noise, plain.seed) == (more.noise, more.seed)
