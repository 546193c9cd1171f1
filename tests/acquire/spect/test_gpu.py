"""The walk on torch tensors against the compiled one; on the CPU, which runs the same steps."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.acquire.spect.camera import COLLIMATORS, Camera, triple_windows
from somascope.acquire.spect.orbit import circular
from somascope.acquire.spect.parallel import ParallelScan
from somascope.core import Grid

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.acquire.spect.gpu", reason="Triton is not installed")

RNG = np.random.default_rng(4)
GRID = Grid.from_spacing((4, 14, 15), (4, 4, 4), origin=(-28, -26, -6))


@pytest.mark.parametrize(
    "changes",
    [
        {"mu": 0.03 * RNG.random(GRID.shape, np.float32), "radius": np.linspace(22, 70, 7)},
        {"resolution": False, "offset": 1.7},
        {"camera": Camera(COLLIMATORS["MEGP"], windows=triple_windows())},
    ],
)
def test_layers_are_those_of_the_kernels(changes):
    given = {"angles": circular(7, start=10), "radius": 60.0, "columns": 16, **changes}
    scan = ParallelScan(grid=GRID, **given)
    layers = gpu.Layers(scan, torch.device("cpu"))
    layers.batch = 3
    x, y = RNG.random(scan.domain, np.float32), RNG.random(scan.range, np.float32)
    found = layers.forward(torch.from_numpy(x)).numpy()
    truth = scan.forward(x)
    assert np.abs(found - truth).max() < 2e-5 * np.abs(truth).max()
    back = layers.adjoint(torch.from_numpy(y)).numpy()
    truth = scan.adjoint(y)
    assert np.abs(back - truth).max() < 2e-5 * np.abs(truth).max()
    assert np.array_equal(layers.adjoint(torch.from_numpy(y)).numpy(), back)


def test_gradients_flow_through_the_transpose():
    scan = ParallelScan(grid=GRID, angles=circular(5), radius=60.0, columns=16)
    x = torch.from_numpy(RNG.random(scan.domain, np.float32)).requires_grad_()
    scan.forward(x).sum().backward()
    assert np.allclose(x.grad.numpy(), scan.adjoint(np.ones(scan.range, np.float32)), rtol=1e-5)
