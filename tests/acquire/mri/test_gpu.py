"""MRI scans on torch tensors against the same scans on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.core import Grid
from tests.acquire.tensors import OnTensors, gap

pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.acquire.gpu", reason="Triton is not installed")
if not gpu.interpreted():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

RNG = np.random.default_rng(0)
SLICE = Grid.from_spacing((1, 12, 14), (2, 2, 2))
STACK = Grid.from_spacing((3, 12, 14), (2, 2, 2))


def values(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


SCANS: dict[str, Any] = {
    "masked": CartesianScan(
        SLICE, sensitivities=values(3, 1, 12, 14), mask=RNG.random((1, 12, 14)) > 0.5
    ),
    "larger matrix": CartesianScan(STACK, coils=2, matrix=(4, 16, 16)),
    "plane": NonCartesianScan(
        SLICE, trajectory=RNG.uniform(-6, 6, (9, 5, 2)), sensitivities=values(3, 1, 12, 14)
    ),
    "slices": NonCartesianScan(STACK, trajectory=RNG.uniform(-6, 6, (9, 5, 2)), coils=2),
    "volume": NonCartesianScan(
        STACK, trajectory=RNG.uniform(-1.5, 1.5, (5, 5, 3)), sensitivities=values(2, 3, 12, 14)
    ),
}


@pytest.mark.parametrize("kind", list(SCANS))
def test_tensors_are_as_arrays(kind: str):
    scan, tensors = SCANS[kind], OnTensors(SCANS[kind])
    x, y = values(*scan.domain), values(*scan.range)
    a, b = tensors.forward(x), tensors.adjoint(y)
    assert gap(a, scan.forward(x)) < 5e-4
    assert gap(b, scan.adjoint(y)) < 5e-4
    assert abs(np.vdot(y, a) - np.vdot(b, x)) < 1e-6 * np.linalg.norm(a) * np.linalg.norm(y)
