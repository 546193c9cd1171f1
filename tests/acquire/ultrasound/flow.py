"""IQ frames of scatterers that move at a known speed, by a separable point spread."""

import numpy as np

from somascope.core import Axis, Grid, Image, Provenance, Source

FREQUENCY, SPEED, PRF = 5e6, 1540.0, 4000.0


def iq_image(frames, spacing, *, times=None, angles=None, axes=None):
    n = frames.shape[-4] if frames.ndim > 3 else 1
    times = np.arange(n) / PRF if times is None else times
    found = (Axis("t", tuple(map(float, times)), "s"),)
    if angles is not None:
        found = (Axis("angle", tuple(map(float, angles)), "deg"), *found)
    grid = Grid.from_spacing(frames.shape[-3:], (1.0, *spacing))
    return Image(
        frames.astype(np.complex64), grid, "US", axes=found if axes is None else axes,
        provenance=Provenance((Source("phantom", "flow"),)),
        attributes={"TransducerFrequency": FREQUENCY / 1e3},
    )  # fmt: skip


def moving(
    velocity, *, shape=(60, 40), frames=16, step=1e-4, angle=0.0, seed=1, noise=0.0, region=None,
    density=0.4,
):  # fmt: skip
    """Frames ``(t, 1, y, x)``; ``velocity`` (lateral, deeper) m/s; phase for transmit ``angle``."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    count = int(density * ny * nx)
    x, z = rng.uniform(0, nx, count) * step, rng.uniform(0, ny, count) * step
    if region is not None:
        kept = region(x, z)
        x, z = x[kept], z[kept]
    strength = rng.normal(size=x.size) + 1j * rng.normal(size=x.size)
    gx, gz = np.arange(nx) * step, np.arange(ny) * step
    out = np.empty((frames, 1, ny, nx), np.complex128)
    vx, vz = velocity(x, z) if callable(velocity) else velocity
    k = 2 * np.pi * FREQUENCY / SPEED
    for t in range(frames):
        xs, zs = x + vx * t / PRF, z + vz * t / PRF
        path = xs * np.sin(angle) + zs * (np.cos(angle) + 1)
        lateral = np.exp(-(((gx[None] - xs[:, None]) / 2.5e-4) ** 2))
        axial = np.exp(-(((gz[None] - zs[:, None]) / 1.5e-4) ** 2))
        out[t, 0] = (axial.T * (strength * np.exp(-1j * k * path))) @ lateral
    if noise:
        out += noise * (rng.normal(size=out.shape) + 1j * rng.normal(size=out.shape))
    return out
