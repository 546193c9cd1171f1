"""The same scan gives the same bits, whatever the threads did: a job can be replayed."""

import numpy as np
import pytest

from somascope.acquire.nufft import NUFFT
from somascope.core import Acquisition
from somascope.core.registry import get_operation
from somascope.phantoms import brain_grid, brain_mr, thorax_ct, thorax_grid

CT = ("acquire.ct.simulate", {"views": 180, "photons": 1e5})
MR = ("acquire.mri.simulate", {"coils": 8, "acceleration": 2})
RADIAL = ("acquire.mri.simulate", {"coils": 4, "trajectory": "radial"})


@pytest.fixture(scope="module")
def bodies():
    return {
        "ct": thorax_ct(thorax_grid((1, 256, 256), (3.0, 1.5, 1.5))),
        "mri": brain_mr("T1", brain_grid((1, 128, 128), (5.0, 1.6, 1.6))),
    }


@pytest.mark.parametrize(
    ("scan", "reconstruct", "settings"),
    [
        (CT, "acquire.ct.fbp", {}),
        (CT, "acquire.ct.sirt", {"iterations": 5}),
        (CT, "acquire.ct.os_sart", {"iterations": 2}),
        (("acquire.ct.simulate", {"geometry": "fan", "views": 180}), "acquire.ct.fbp", {}),
        (MR, "acquire.mri.sense", {"iterations": 5}),
        (MR, "acquire.mri.grappa", {}),
        (MR, "acquire.mri.l1wavelet", {"iterations": 5}),
        (RADIAL, "acquire.mri.gridding", {}),
        (RADIAL, "acquire.mri.sense", {"iterations": 5}),
    ],
)
def test_reconstructions(bodies, scan, reconstruct, settings):
    name, how = scan
    raw = get_operation(name)(bodies[name.split(".")[1]], seed=1, **how)
    again = get_operation(name)(bodies[name.split(".")[1]], seed=1, **how)
    assert np.array_equal(raw.samples, again.samples)
    first = values(get_operation(reconstruct)(raw, **settings))
    for _ in range(3):
        found = values(get_operation(reconstruct)(raw.with_samples(raw.samples), **settings))
        assert np.array_equal(found, first)


def values(noun):
    return noun.samples if isinstance(noun, Acquisition) else noun.data


@pytest.mark.parametrize("batch", [(), (3,)])
def test_non_uniform_transform(batch):
    rng = np.random.default_rng(0)
    points = rng.uniform(-64, 64, (100_000, 2))
    samples = rng.normal(size=(*batch, 100_000)).astype(np.complex64)
    transform = NUFFT(points, (128, 128))
    first = transform.adjoint(samples)
    assert all(np.array_equal(transform.adjoint(samples), first) for _ in range(4))
    few = points[::100], np.ascontiguousarray(samples[..., ::100])
    by_hand = NUFFT(few[0], (128, 128), threads=1).adjoint(few[1])
    r = np.arange(128) - 64
    turns = [np.exp(2j * np.pi * few[0][:, k, None] * r / 128) for k in (0, 1)]
    exact = np.einsum("...n,ny,nx->...yx", few[1], *turns, optimize=True)
    assert np.abs(by_hand - exact).max() < 2e-3 * np.abs(exact).max()
