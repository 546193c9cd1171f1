"""Radiographs of a body that a known pose has taken away from its CT."""

import numpy as np

from somascope.acquire.rigid import centre_of, matrix
from somascope.acquire.xray.projection import Projection
from somascope.acquire.xray.views import radiograph_views
from somascope.analyze.register import points
from somascope.core import Acquisition, Image

POSE = np.array([9.0, -7.0, 12.0, 6.0, -5.0, 8.0])


def radiographs(chest: Image, views, pose=POSE) -> Acquisition:
    """Line integrals with noise, as the room sees the body that ``pose`` takes to the CT."""
    scan = radiograph_views(chest.grid, views, shape=(96, 96), pitch=5.0)
    m = matrix(pose, centre_of(chest.grid))
    turn = m[:3, :3].T
    there = Projection(
        grid=chest.grid, sources=scan.sources @ turn + m[:3, 3],
        origins=scan.origins @ turn + m[:3, 3], rows=scan.rows @ turn, columns=scan.columns @ turn,
        shape=scan.shape,
    )  # fmt: skip
    lines = there.forward(np.maximum(1 + chest.data / 1000, 0).astype(np.float32))
    noise = np.random.default_rng(1).standard_normal(lines.shape)
    return Acquisition(samples=lines + 0.01 * lines.max() * noise, operator=scan, modality="DX")


def missed(chest: Image, warp, pose=POSE) -> np.ndarray:
    """mm by which a map misses, six places 80 mm from the middle, L P S."""
    x = centre_of(chest.grid) + 80 * np.concatenate([np.eye(3), -np.eye(3)])
    m = matrix(pose, centre_of(chest.grid))
    return points(warp, x) - (x @ m[:3, :3].T + m[:3, 3])
