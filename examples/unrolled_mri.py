"""Learn to reconstruct MRI from a quarter of the lines: docs/tutorials/mri-unrolled.md.

::

    python examples/unrolled_mri.py docs/images [STEPS]

Trained on ellipses, judged on brains: what it has never seen.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from somascope.acquire.mri.compressed import l1wavelet
from somascope.acquire.mri.simulate import simulate
from somascope.core import Acquisition, Grid, Image
from somascope.core.grid import Array
from somascope.learn.reconstruct import Protocol, reconstructor, scanned, varnet
from somascope.models.reconstruct import reconstruct, slices
from somascope.phantoms import brain_mr
from somascope.phantoms.heads import ellipse_heads

WEIGHTS = (0.002, 0.005, 0.01, 0.02)
"""Of the wavelets' prior; each brain gets the one that is best for it."""


def grid_of(shape: tuple[int, int]) -> Grid:
    """An axial slice of 212 x 176 mm through the ventricles."""
    ny, nx = shape
    dy, dx = 212 / ny, 176 / nx
    return Grid.from_spacing(
        (1, ny, nx), (5.0, dy, dx), origin=(-(nx - 1) / 2 * dx, -(ny - 1) / 2 * dy, 6.0)
    )


def quality(found: Array, truth: Array) -> tuple[float, float]:
    """Peak signal to noise ratio in dB, and structural similarity."""
    top = float(truth.max())
    alike = structural_similarity(truth, found, data_range=top)
    return (
        float(peak_signal_noise_ratio(truth, found, data_range=top)),
        float(alike),  # pyright: ignore[reportArgumentType]  # a map only where it is asked for
    )


def zero_filled(raw: Acquisition, truth: Array) -> Array:
    """What the lines that are there give, at the brightness that fits the truth best."""
    given = slices(raw, "example")
    values = np.abs(given.back[0]) * given.scale
    return values * float((values * truth).sum() / (values**2).sum())


def wavelets(raw: Acquisition, truth: Array) -> Array:
    """Compressed sensing with the weight that nobody knows without the truth."""
    found = [l1wavelet(raw, weight=w, iterations=60).data[0].astype(float) for w in WEIGHTS]
    return max(found, key=lambda one: quality(one, truth)[0])


def main(
    out: Path, *, steps: int = 800, shape: tuple[int, int] = (96, 80), count: int = 40,
    width: int = 16, cascades: int = 4,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Train, export, reconstruct held-out brains three ways; the picture goes to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    grid = grid_of(shape)
    protocol = Protocol(acceleration=4, calibration=12, pattern="random", snr=(12.0, 40.0))
    network = varnet(
        ellipse_heads(count, grid, seed=1), protocol=protocol, steps=steps, width=width,
        cascades=cascades,
    )  # fmt: skip
    figures: dict[str, list[tuple[float, float]]] = {}
    rows: list[Array] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "unrolled"
        examples = [
            scanned(i, protocol, seed=500 + k) for k, i in enumerate(ellipse_heads(2, grid, seed=2))
        ]
        reconstructor(network, examples, model)

        def three(brain: Image, *, fewer: int, seed: int) -> list[Array]:
            truth = brain.data[0].astype(float)
            raw = simulate(brain, acceleration=fewer, calibration=12, pattern="random", snr=20.0,
                           seed=seed)  # fmt: skip
            ours = reconstruct(raw, model=str(model)).data[0].astype(float)
            found = [zero_filled(raw, truth), wavelets(raw, truth), ours]
            for name, one in zip(("zero-filled", "L1-wavelet", "unrolled"), found, strict=True):
                figures.setdefault(f"{name}, every {fewer}th line", []).append(quality(one, truth))
            return [truth, *found]

        for seed, weighting in enumerate(("T1", "T2")):
            brain = brain_mr(weighting, grid, noise=0)
            shown = three(brain, fewer=4, seed=70 + seed)
            rows.append(panel(shown, shown[0]))
            three(brain, fewer=8, seed=80 + seed)  # twice as few as it was trained for
    Picture.fromarray(np.concatenate(rows)).save(out / "mri-unrolled.png", optimize=True)
    return {
        name: {
            "PSNR dB": round(float(np.mean([q[0] for q in each])), 2),
            "SSIM": round(float(np.mean([q[1] for q in each])), 4),
        }
        for name, each in figures.items()
    }


def panel(images: list[Array], truth: Array, *, factor: int = 2) -> Array:
    """Images side by side, and five times their difference from the first one below."""
    top = float(np.quantile(truth, 0.998))
    upper = [np.clip(i / top, 0, 1) for i in images]
    lower = [np.clip(5 * np.abs(i - truth) / top, 0, 1) for i in images]
    both = np.concatenate([np.concatenate(upper, axis=1), np.concatenate(lower, axis=1)])
    return (both * 255).astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images")
    count_ = int(sys.argv[2]) if len(sys.argv) > 2 else 800
    print(json.dumps(main(target, steps=count_), indent=1))
