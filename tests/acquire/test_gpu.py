"""Torch tensors through operators: kernels under Triton's interpreter against the CPU's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.nufft import NUFFT, Toeplitz
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operator
from tests.acquire.tensors import OnTensors, gap

torch = pytest.importorskip("torch")
process_gpu = pytest.importorskip("somascope.process.gpu", reason="Triton is not installed")
gpu = pytest.importorskip("somascope.acquire.gpu")
if not gpu.interpreted():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

CASES = [((10, 12), 90, 1e-4), ((10, 12), 90, 1e-6), ((5, 8, 6), 40, 1e-4)]


def transform(shape, count, tolerance):
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (count, len(shape))) * shape
    points[0] = 0
    points[1] = np.array(shape) / 2  # the band's edge wraps around
    points[2] = 1.0  # on a lattice point: an even kernel has two ends there
    return NUFFT(points, shape, tolerance=tolerance)


def values(*shape):
    rng = np.random.default_rng(3)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def exact(operator, x):
    """The sum itself."""
    r = [np.arange(n) - n // 2 for n in operator.shape]
    mesh = np.stack(np.meshgrid(*r, indexing="ij"), axis=-1).reshape(-1, len(r))
    phase = np.exp(-2j * np.pi * (operator.points / operator.shape) @ mesh.T)
    return phase @ x.reshape(-1)


@pytest.mark.parametrize(("shape", "count", "tolerance"), CASES)
def test_the_transform_is_the_sum(shape, count, tolerance):
    operator = transform(shape, count, tolerance)
    x, y = values(2, *shape), values(2, count)
    found = operator.forward(torch.from_numpy(x))
    for one, image in zip(found.numpy(), x, strict=True):
        assert gap(one, exact(operator, image)) < 3 * tolerance
    back = operator.adjoint(torch.from_numpy(y)).numpy()
    assert gap(back, NUFFT(operator.points, shape, tolerance=1e-9).adjoint(y)) < 3 * tolerance
    again = operator.adjoint(torch.from_numpy(y)).numpy()
    assert np.array_equal(back, again)


def test_the_adjoint_is_the_adjoint():
    operator = OnTensors(transform((8, 10), 50, 1e-4))
    check_operator(operator, domain_dtype="complex64", range_dtype="complex64", tolerance=1e-6)


@pytest.mark.parametrize("shape", [(9, 12), (4, 5, 6)])
def test_the_normal_operator(shape):
    points = np.random.default_rng(4).uniform(-0.5, 0.5, (70, len(shape))) * shape
    operator = Toeplitz(points, shape, weights=np.linspace(0.5, 2, 70))
    x = values(3, *shape)
    assert gap(operator.forward(torch.from_numpy(x)).numpy(), operator.forward(x)) < 1e-5


def test_gradients_flow_through_the_adjoint():
    operator = transform((8, 8), 30, 1e-4)
    x, y = torch.from_numpy(values(8, 8)).requires_grad_(), torch.from_numpy(values(30))
    loss = 0.5 * (operator.forward(x) - y).abs().square().sum()
    loss.backward()
    expected = operator.adjoint((operator.forward(x) - y).detach())
    assert gap(x.grad.numpy(), expected.numpy()) < 1e-6


def test_a_cpu_tensor_goes_through_numpy_where_no_kernel_runs(monkeypatch):
    monkeypatch.setattr(process_gpu, "interpreted", lambda: False)
    operator = transform((8, 8), 30, 1e-4)
    x = values(8, 8)
    assert np.array_equal(operator.forward(torch.from_numpy(x)).numpy(), operator.forward(x))
    with pytest.raises(ParameterError, match="cpu and cuda"):
        operator.forward(torch.from_numpy(x).to("meta"))


def test_what_does_not_fit_is_refused():
    operator = transform((8, 8), 30, 1e-4)
    with pytest.raises(GeometryError, match=r"give \(\.\.\., \(8, 8\)\)"):
        operator.forward(torch.zeros(8, 9))
    with pytest.raises(ParameterError, match="convert it"):
        operator.forward(torch.zeros(8, 8, dtype=torch.complex128))


def test_arrays_never_load_torch():
    code = """
import sys
import numpy as np
from somascope.acquire.ct.cone import ConeScan
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Grid
grid = Grid.from_spacing((4, 8, 8), (1, 1, 1), origin=(-3.5, -3.5, -1.5))
scan = ConeScan(grid=grid, angles=[0.1], rows=4, columns=8, spacing=(1, 1), source=50, detector=90)
scan.adjoint(scan.forward(np.ones(grid.shape, np.float32)))
scan = NonCartesianScan(grid, trajectory=np.zeros((2, 3, 3)))
scan.adjoint(scan.forward(np.ones(grid.shape, np.complex64)))
assert not {"torch", "triton"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torch_is_imported_in_modules_named_gpu_only():
    """And in the room of learning, once it is there."""
    source = Path(__file__).resolve().parent.parent.parent / "src" / "somascope"
    wanted = re.compile(r"^\s*(import|from) (torch|triton)\b", re.MULTILINE)
    found = {p for p in source.rglob("*.py") if wanted.search(p.read_text(encoding="utf-8"))}
    assert {p.name for p in found if "learn" not in p.parts} == {"gpu.py"}
