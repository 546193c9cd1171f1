"""Delay and sum in Triton against the compiled one: interpreted on the CPU, or on CUDA."""

from __future__ import annotations

import os

import numpy as np
import pytest

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.beamform import columns_of
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.das import Beamformer
from somascope.core import Grid
from somascope.core.errors import GeometryError, ParameterError

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("somascope.acquire.ultrasound.gpu", reason="Triton is not installed")

DEVICE = "cuda" if os.environ.get("TRITON_INTERPRET") == "0" else "cpu"
if DEVICE == "cuda" and not torch.cuda.is_available():
    pytest.skip("TRITON_INTERPRET was set to 0", allow_module_level=True)

PROBE = probes.linear(6, pitch=0.6)
GRID = Grid.from_spacing((1, 70, 10), (1, 0.1, 0.3), origin=(-1.4, 2.0, 0.0))
SENT = {
    "plane": waves.plane(PROBE, [-5, 8]),
    "diverging": waves.diverging(PROBE, [[0, -5, 0], [1.0, -4, 0]]),
    "focused": waves.focused(PROBE, [[0.3, 6, 0]]),
    "delays": waves.fired(waves.diverging(PROBE, [[0.5, -3, 0]]).fire_times(PROBE, 1540.0)),
}


@pytest.mark.parametrize("name", list(SENT))
@pytest.mark.parametrize(("window", "f_number"), [("boxcar", 0.0), ("hann", 1.0), ("tukey", 0.7)])
def test_the_same_as_the_compiled_one(name, window, f_number):
    scan = ChannelScan(
        GRID, probe=PROBE, transmit=SENT[name], samples=230, sampling_frequency=20e6,
        demodulation_frequency=5e6, start=1e-6,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    shape = (2, *scan.range)
    iq = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    made = Beamformer(scan, columns_of(GRID), f_number=f_number, window=window)
    for compound in (True, False):
        truth = made(iq, compound=compound)
        found = gpu.beamform(made, torch.from_numpy(iq).to(DEVICE), compound=compound).cpu().numpy()
        assert found.shape == truth.shape
        # Sums of random phases: single precision, and a rim that falls on a pixel.
        far = np.abs(found - truth) > 3e-4 * np.abs(truth).max()
        assert far.mean() < 2e-3


def test_what_cannot_run_is_refused():
    scan = ChannelScan(GRID, probe=PROBE, transmit=SENT["focused"], samples=230,
                       sampling_frequency=20e6, demodulation_frequency=5e6)  # fmt: skip
    made = Beamformer(scan, columns_of(GRID))
    with pytest.raises(GeometryError, match="channel data"):
        gpu.beamform(made, torch.zeros((1, 1, 5, 230), dtype=torch.complex64, device=DEVICE))
    with pytest.raises(ParameterError, match="convert"):
        gpu.beamform(made, torch.zeros((1, 1, 6, 230), dtype=torch.complex128, device=DEVICE))
