"""PET's projector on torch tensors: kernels under Triton's interpreter against the CPU's."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.scanner import TINY, Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Grid
from somascope.core.errors import GeometryError

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.acquire.gpu", reason="Triton is not installed")
if not gpu.interpreted():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

RNG = np.random.default_rng(5)
GRID = Grid.from_spacing((4, 9, 11), (5.0, 4.0, 3.5), origin=(-15.0, -14.0, -9.0))
SQUARE = Grid.from_spacing((4, 10, 10), (5.0, 4.0, 4.0), origin=(-18.0, -18.0, -7.5))
FEW = Scanner(
    name="Few", rings=3, crystals=16, radius=60.0, ring_spacing=8.0, depth=2.0, radial_bins=9,
    tof_bins=5, tof_bin_ps=200.0, tof_resolution_ps=300.0,
)  # fmt: skip


def events(*, count=70, resolved=True, grid=GRID, **more):
    pairs = RNG.integers(0, FEW.rings * FEW.crystals, (count, 2))
    pairs[:, 1] = np.where(pairs[:, 0] == pairs[:, 1], (pairs[:, 1] + 5) % 48, pairs[:, 1])
    scanner = FEW if resolved else FEW.without_tof()
    tof = RNG.integers(0, 5, count) if resolved else None
    return ListModeScan(grid=grid, scanner=scanner, crystals=pairs, tof=tof, **more)


SCANS = {
    "sinogram": lambda: SinogramScan(grid=GRID, scanner=FEW.without_tof(), centre=(2.0, 1.0, 0.5)),
    "with the CPU's symmetries": lambda: SinogramScan(
        grid=SQUARE, scanner=FEW.without_tof(), span=3
    ),
    "time of flight": lambda: SinogramScan(grid=SQUARE, scanner=FEW, views=[0, 3, 5]),
    "blurred": lambda: SinogramScan(grid=GRID, scanner=FEW.without_tof(), psf=7.0, mashing=2),
    "events": events,
    "events without time": lambda: events(resolved=False, psf=6.0),
    "flat blocks": lambda: ListModeScan(
        grid=GRID, scanner=FEW.without_tof(), crystals=[[0, 1], [2, 3], [0, 3], [1, 2]],
        positions=[[-40, 3, 2], [40, 1, 0], [2, -50, -4], [1, 2, 60.0]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
def test_the_same_as_on_the_processor(name):
    scan = SCANS[name]()
    x = RNG.random(scan.domain, np.float32)
    y = RNG.random(scan.range, np.float32) - np.float32(0.3)
    found, truth = scan.forward(torch.from_numpy(x)), scan.forward(x)
    assert found.shape == truth.shape
    assert np.abs(found.numpy() - truth).max() < 3e-5 * np.abs(truth).max()
    back, truth = scan.adjoint(torch.from_numpy(y)), scan.adjoint(y)
    assert np.abs(back.numpy() - truth).max() < 3e-5 * np.abs(truth).max()
    left = float((found.double() * torch.from_numpy(y)).sum())
    right = float((back.double() * torch.from_numpy(x)).sum())
    assert left == pytest.approx(right, rel=1e-4, abs=1e-3 * float(np.abs(truth).max()))


def test_sums_are_the_same_in_any_order_of_the_events():
    scan = events(count=300)
    y = RNG.random(300, np.float32)
    back = scan.adjoint(torch.from_numpy(y))
    order = RNG.permutation(300)
    assert torch.equal(scan.of_events(order).adjoint(torch.from_numpy(y[order])), back)


def test_gradients_flow_through_the_transpose():
    scan = SinogramScan(grid=SQUARE, scanner=FEW.without_tof())
    x = torch.from_numpy(RNG.random(scan.domain, np.float32)).requires_grad_()
    scan.forward(x).sum().backward()
    assert x.grad is not None
    truth = scan.adjoint(np.ones(scan.range, np.float32))
    assert np.allclose(x.grad.numpy(), truth, rtol=1e-4, atol=1e-4 * truth.max())


def test_small_and_large_values_and_none():
    """The whole numbers are scaled by what there is to add."""
    scan = SinogramScan(grid=SQUARE, scanner=FEW.without_tof())
    y = RNG.random(scan.range, np.float32)
    truth = scan.adjoint(y)
    for factor in (1e-12, 1e12):
        found = scan.adjoint(torch.from_numpy(y * np.float32(factor))).numpy()
        assert np.allclose(found / factor, truth, rtol=1e-4, atol=1e-4 * truth.max())
    assert not scan.adjoint(torch.zeros(scan.range)).any()
    with pytest.raises(GeometryError, match="shape"):
        scan.forward(torch.zeros(3, 3, 3))


def test_lines_that_miss_the_image_sum_to_nothing():
    far = replace(TINY.without_tof(), ring_spacing=4.0)
    scan = SinogramScan(grid=GRID, scanner=far, centre=(0.0, 0.0, 300.0))
    assert not scan.forward(torch.ones(scan.domain)).any()
