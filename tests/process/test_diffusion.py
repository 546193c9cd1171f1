"""Diffusions: ITK's, their definitions in double precision, and what they must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from somascope.core import Axis, Grid, Image
from somascope.process.coherence import _tensors, coherence, coherent, structure
from somascope.process.diffusion import diffused, diffusion, stable
from somascope.testing import check_operation


def noisy(shape=(8, 20, 24), seed=0):
    rng = np.random.default_rng(seed)
    return (100 * ndi.gaussian_filter(rng.normal(size=shape), 1)).astype(np.float32)


def image(values, spacing=(1, 1, 1), **more):
    return Image(np.asarray(values), Grid.from_spacing(np.shape(values)[-3:], spacing), **more)


@pytest.mark.parametrize("shape", [(1, 33, 40), (7, 20, 30)])
def test_it_is_itks_borders_included(shape):
    sitk = pytest.importorskip("SimpleITK")
    v = noisy(shape)
    given_ = sitk.GetImageFromArray(v if shape[0] > 1 else v[0])
    theirs = sitk.GetArrayFromImage(
        sitk.GradientAnisotropicDiffusion(
            given_, timeStep=0.05, conductanceParameter=1.5, conductanceScalingUpdateInterval=1,
            numberOfIterations=4,
        )
    )  # fmt: skip
    ours = diffused(v, (1, 1, 1), iterations=4, time=0.05, conductance=1.5)
    assert np.abs(theirs - v).max() > 5
    assert np.abs(ours - theirs).max() < 1e-3


def by_hand(u, spacing, time, edge, kind):
    """One step in double precision: fluxes through faces, divided by the voxel's edge."""

    def centre(a, axis):
        p = np.pad(a, [(1, 1) if i == axis else (0, 0) for i in range(3)], mode="edge")
        return 0.5 * (np.take(p, range(2, p.shape[axis]), axis) -
                      np.take(p, range(p.shape[axis] - 2), axis)) / spacing[axis]  # fmt: skip

    out = u.astype(float).copy()
    for axis in range(3):
        face = np.diff(u.astype(float), axis=axis) / spacing[axis]
        square = face**2
        for other in range(3):
            if other != axis:
                c = centre(u.astype(float), other)
                n = c.shape[axis]
                mean = 0.5 * (np.take(c, range(1, n), axis) + np.take(c, range(n - 1), axis))
                square = square + mean**2
        g = np.exp(-square / (2 * edge**2)) if kind == "exponential" else 1 / (1 + square / edge**2)
        flow = np.pad(face * g, [(1, 1) if i == axis else (0, 0) for i in range(3)])
        out += time / spacing[axis] * np.diff(flow, axis=axis)
    return out


@pytest.mark.parametrize("kind", ["exponential", "quotient"])
def test_millimetres_count_in_slopes_and_flows(kind):
    v, spacing = noisy(), (2.0, 1.0, 0.7)
    ours = diffused(v, spacing, iterations=1, time=0.1, edge=20.0, kind=kind)
    assert np.abs(ours - by_hand(v, spacing, 0.1, 20.0, kind)).max() < 1e-3


def test_nothing_flows_through_missing_voxels():
    v = np.zeros((4, 12, 21), np.float32)
    v[..., :10], v[..., 11:] = 10.0, 50.0
    v += noisy(v.shape) * 0.02
    v[..., 10] = np.nan
    found = diffused(v, (1, 1, 1), iterations=30, time=0.1, edge=1e3)
    assert np.array_equal(np.isnan(found), np.isnan(v))
    for side in (np.s_[..., :10], np.s_[..., 11:]):
        assert found[side].mean() == pytest.approx(v[side].mean(), abs=1e-3)
        assert found[side].std() < 0.5 * v[side].std()
    v[0, 0, 0] = np.inf
    again = diffused(v, (1, 1, 1), iterations=3, time=0.1)
    assert np.isfinite(again).sum() == np.isfinite(v).sum()


def test_regions_are_smoothed_and_edges_stay():
    step = np.zeros((1, 40, 40), np.float32)
    step[..., 20:] = 100
    v = step + np.random.default_rng(0).normal(0, 5, step.shape).astype(np.float32)
    found = diffusion(image(v), iterations=20, conductance=1.5).data
    sides = (np.s_[0, 5:35, 3:17], np.s_[0, 5:35, 23:37])
    assert all(found[s].std() < 0.35 * v[s].std() for s in sides)
    assert found[0, 5:35, 20].mean() - found[0, 5:35, 19].mean() > 85


@settings(max_examples=12, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (1, 1, 9), (1, 8, 1), (5, 1, 7), (4, 6, 9)]),
    kind=st.sampled_from(["exponential", "quotient"]),
    seed=st.integers(0, 99),
)
def test_mean_stays_and_range_does_not_grow(shape, kind, seed):
    v = np.random.default_rng(seed).normal(50, 20, shape).astype(np.float32)
    found = diffusion(image(v, (3.0, 1.0, 0.6)), iterations=5, kind=kind, step=0.9).data
    assert found.mean() == pytest.approx(v.mean(), abs=1e-3)
    assert found.min() >= v.min() - 1e-3
    assert found.max() <= v.max() + 1e-3
    flat = diffusion(image(np.full(shape, 7.5, np.float32)), kind=kind).data
    assert (flat == 7.5).all()


def test_tensors_turn_structure_into_diffusion():
    """Eigenvectors stay; the shares are those of the definition, in two dimensions and three."""
    rng = np.random.default_rng(0)
    alpha, strength = 0.05, 3.0
    for flat, n in ((1, 2), (0, 3)):
        a = rng.normal(size=(50, n, n)) * 2
        j = a @ a.swapaxes(1, 2)
        m, vectors = np.linalg.eigh(j)
        k = np.maximum(m[:, -1:] - m, 1e-9)
        share = alpha + (1 - alpha) * np.exp(-((strength / k) ** 2))
        share[:, -1] = alpha
        wanted = (vectors * share[:, None]) @ vectors.swapaxes(1, 2)
        full = np.zeros((50, 3, 3))
        full[:, 3 - n :, 3 - n :] = j
        places = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
        t = np.stack([full[:, p, q] for p, q in places]).astype(np.float64).reshape(6, 1, 1, 50)
        _tensors(t, strength, alpha, flat)
        for i, (p, q) in enumerate(places):
            if p >= 3 - n and q >= 3 - n:
                got = t[i, 0, 0]
                assert np.abs(got - wanted[:, p - 3 + n, q - 3 + n]).max() < 1e-8


def gap(deep):
    """Slanted line with a hole in it, in noise."""
    shape = (24, 24, 48) if deep else (1, 48, 96)
    z, y, x = np.indices(shape)
    if deep:
        away = np.hypot(y - 6 - 0.25 * x, z - 8 - 0.15 * x)
    else:
        away = np.abs(y - 10 - 0.3 * x) / np.hypot(1, 0.3)
    middle = shape[2] // 2
    line = np.exp(-0.5 * (away / 1.5) ** 2) * (np.abs(x - middle) > (1 if deep else 3))
    v = 100 * line + np.random.default_rng(0).normal(0, 8, shape)
    inside = (away < 1.0) & (np.abs(x - middle) <= 1)
    beside = (away > 6) & (np.abs(x - middle) <= 1)
    return v.astype(np.float32), inside, beside


@pytest.mark.parametrize("deep", [False, True])
def test_a_gap_in_a_line_closes(deep):
    v, inside, beside = gap(deep)
    found = coherence(
        image(v), iterations=60 if deep else 100, reach=5.0,
        dimensions="volume" if deep else "slice",
    ).data  # fmt: skip
    assert v[inside].mean() < 12
    assert found[inside].mean() > 0.4 * np.quantile(found, 0.9995)
    assert abs(found[beside].mean()) < 6
    assert found[beside].std() < 0.7 * v[beside].std()
    assert found.mean() == pytest.approx(v.mean(), abs=0.01)


def test_coherence_is_turned_with_the_image_and_blind_to_levels():
    v, _, _ = gap(False)
    how = {"sigma": (0, 1, 1), "rho": (0, 3, 3), "iterations": 3, "time": 0.1, "flat": True}
    one = coherent(v, (1, 1, 1), **how)
    turned = coherent(np.ascontiguousarray(v.swapaxes(1, 2)), (1, 1, 1), **how)
    assert np.abs(turned.swapaxes(1, 2) - one).max() < 1e-3
    assert np.abs(coherent(v + 500, (1, 1, 1), **how) - 500 - one).max() < 5e-3
    hole = v.copy()
    hole[0, 4:6, 4:6] = np.nan
    found = coherent(hole, (1, 1, 1), **how)
    assert np.array_equal(np.isnan(found), np.isnan(hole))
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32) * 0.5, (1, 20, 20)).copy()
    t = structure(ramp, (1, 1, 0.5), sigma=(0, 1, 1), rho=(0, 1, 1), flat=True)
    assert t[2, 0, 8:12, 8:12] == pytest.approx(1.0, rel=1e-3)
    assert np.abs(t[[0, 1, 3]]).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (3, 1, 7), (2, 5, 1)])
def test_thin_and_constant_images(shape):
    flat = image(np.full(shape, 3.0, np.float32))
    for dimensions in ("slice", "volume"):
        assert coherence(flat, dimensions=dimensions).data == pytest.approx(3.0)
        found = coherence(image(noisy(shape)), dimensions=dimensions)
        assert np.isfinite(found.data).all()


def test_operations():
    assert stable((1, 1, 1), flat=True) == pytest.approx(0.25)
    v = np.stack([noisy(seed=1), noisy(seed=2)])
    for op in (diffusion, coherence):
        check_operation(op)
        check_operation(op, params={"dimensions": "slice", "iterations": 2})
        found = op(image(v, axes=(Axis("t"),)), iterations=2)
        assert np.array_equal(found.data[1], op(image(v[1]), iterations=2).data)
