"""The run that the functional benchmarks share: a task, drifts, correlated noise."""

from __future__ import annotations

import numpy as np

from somascope.acquire.fmri.design import Design, design, events_from_arrays

Array = np.ndarray


def run_of(scans: int, shape: tuple[int, int, int]) -> tuple[Array, Design]:
    """Values ``(scans, nz, ny, nx)`` float32 with a tenth of the voxels active, and the design."""
    rng = np.random.default_rng(0)
    onsets = np.arange(10, scans * 2 - 20, 40.0)
    events = events_from_arrays(list(onsets), [20.0], [1 + i % 2 for i in range(onsets.size)])
    motion = {f"motion_{i}": rng.normal(size=scans).cumsum() for i in range(6)}
    made = design(events, scans=scans, repetition=2.0, high_pass=200.0, confounds=motion)
    data = rng.standard_normal((scans, *shape), np.float32)
    for t in range(1, scans):
        data[t] += 0.3 * data[t - 1]
    data *= 10
    data += 1000
    active = data.reshape(scans, -1)[:, : data[0].size // 10]
    active += (made.matrix[:, :1] * 20).astype(np.float32)
    return data, made


def nifti(data: Array, spacing: tuple[float, float, float]):
    """The same as nibabel has it: ``(x, y, z, t)``."""
    import nibabel as nib

    dz, dy, dx = spacing
    return nib.Nifti1Image(np.asfortranarray(data.transpose(3, 2, 1, 0)), np.diag([dx, dy, dz, 1]))
