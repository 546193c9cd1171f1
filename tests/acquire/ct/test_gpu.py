"""CT on torch tensors: kernels under Triton's interpreter against the CPU's projectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.fdk import Feldkamp
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.views import ViewsScan
from somascope.core import Grid
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operator
from tests.acquire.tensors import OnTensors, gap

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.acquire.gpu", reason="Triton is not installed")
if not gpu.interpreted():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

ORIGIN = (-8.0, -9.0, -4.0)
VOLUME = Grid.from_spacing((6, 12, 13), (2, 1.5, 1.1), origin=ORIGIN)
STACK = Grid.from_spacing((3, 12, 13), (-2, 1.5, 1.1), origin=ORIGIN)
ANGLES = np.array([0.0, np.pi / 4, 2.2])


def slices(kind: str, grid: Grid, angles: Any = ANGLES) -> Any:
    common: dict[str, Any] = {
        "grid": grid, "angles": angles, "bins": 20, "spacing": 1.3, "offset": 2.2,
        "isocentre": (1, 2, 3),
    }  # fmt: skip
    if kind in ("joseph", "fourier"):
        return ParallelScan(**common, projector=kind)  # pyright: ignore[reportArgumentType]
    return FanScan(**common, source=100, detector=150, curved=kind == "arc")


def volume(kind: str, angles: Any = ANGLES) -> Any:
    common: dict[str, Any] = {
        "grid": VOLUME, "angles": angles, "rows": 9, "columns": 17, "spacing": (2.0, 1.7),
        "offset": 3.0, "source": 100.0, "detector": 150.0, "isocentre": (1, 2, 3),
    }  # fmt: skip
    if kind == "helical":
        return HelicalScan(**common, pitch=5.0, start=-6.0)
    if kind in ("cone", "curved cone"):
        return ConeScan(**common, curved=kind != "cone")
    rng = np.random.default_rng(4)
    source = rng.normal(size=(3, 3))
    source *= 90 / np.linalg.norm(source, axis=1, keepdims=True)
    across = np.cross(source, rng.normal(size=(3, 3)))
    across *= 2.0 / np.linalg.norm(across, axis=1, keepdims=True)
    parallel = kind == "parallel views"
    return ViewsScan(
        grid=VOLUME, source=-source if parallel else source, centre=-source, u=across,
        v=np.cross(source, across) / 90, rows=10, columns=12, parallel=parallel,
    )  # fmt: skip


SCANS = {
    "parallel": slices("joseph", Grid.from_spacing((1, 12, 13), (2, 1.5, 1.1), origin=ORIGIN)),
    "parallel stack": slices("joseph", STACK),
    "fan stack": slices("fan", STACK),
    "arc": slices("arc", Grid.from_spacing((1, 12, 13), (2, 1.5, 1.1), origin=ORIGIN)),
    **{k: volume(k) for k in ("cone", "curved cone", "helical", "views", "parallel views")},
}


@pytest.mark.parametrize("kind", list(SCANS))
def test_sums_along_rays_are_those_of_the_cpu(kind: str):
    scan, tensors = SCANS[kind], OnTensors(SCANS[kind])
    rng = np.random.default_rng(0)
    x = rng.normal(size=scan.domain).astype(np.float32)
    y = rng.normal(size=scan.range).astype(np.float32)
    a, b = tensors.forward(x), tensors.adjoint(y)
    # Single precision coordinates: the CPU's are double.
    assert gap(a, scan.forward(x)) < 2e-5
    assert gap(b, scan.adjoint(y)) < 2e-5
    assert abs(np.vdot(y, a) - np.vdot(b, x)) < 1e-6 * np.linalg.norm(a) * np.linalg.norm(y)


def test_the_fourier_projector_is_that_of_the_cpu():
    scan = slices("fourier", STACK)
    tensors = OnTensors(scan)
    rng = np.random.default_rng(0)
    x = rng.normal(size=scan.domain).astype(np.float32)
    y = rng.normal(size=scan.range).astype(np.float32)
    a, b = tensors.forward(x), tensors.adjoint(y)
    assert gap(a, scan.forward(x)) < 3e-4
    assert gap(b, scan.adjoint(y)) < 3e-4
    assert abs(np.vdot(y, a) - np.vdot(b, x)) < 1e-6 * np.linalg.norm(a) * np.linalg.norm(y)


def test_the_adjoint_is_the_adjoint():
    flat = Grid.from_spacing((1, 8, 9), (2, 1.5, 1.1), origin=ORIGIN)
    check_operator(OnTensors(slices("arc", flat, ANGLES[1:])), tolerance=1e-5)
    check_operator(OnTensors(volume("cone", ANGLES[2:])), tolerance=1e-5)


@pytest.mark.parametrize("kind", ["flat", "arc, half-fan", "one row"])
def test_feldkamp_is_that_of_the_cpu(kind: str):
    scan = ConeScan(
        grid=VOLUME, angles=np.arange(24) * np.pi / 12, rows=1 if kind == "one row" else 9,
        columns=24, spacing=(2.0, 1.7), offset=8.0 if "half" in kind else 0.0, source=100.0,
        detector=150.0, curved="arc" in kind, isocentre=(1, 2, 3),
    )  # fmt: skip
    engine = Feldkamp(scan, kernel="hann")
    y = np.random.default_rng(0).normal(size=scan.range).astype(np.float32)
    found: Any = engine.slab(torch.from_numpy(y), VOLUME)  # pyright: ignore
    assert gap(found.numpy(), engine.slab(y, VOLUME)) < 2e-5


def test_gradients_flow_through_the_adjoint():
    scan = slices("joseph", Grid.from_spacing((1, 8, 9), (2, 1.5, 1.1), origin=ORIGIN))
    x = torch.ones(scan.domain, requires_grad=True)
    scan.forward(x).square().sum().backward()
    expected = 2 * scan.adjoint(scan.forward(np.ones(scan.domain, np.float32)))
    assert x.grad is not None
    assert gap(x.grad.numpy(), expected) < 1e-5


def test_what_does_not_fit_is_refused():
    scan = SCANS["arc"]
    with pytest.raises(GeometryError, match="the image has shape"):
        scan.forward(torch.zeros(1, 12, 12))
    with pytest.raises(ParameterError, match="float32"):
        scan.adjoint(torch.zeros(scan.range, dtype=torch.float64))
