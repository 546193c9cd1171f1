"""A CT is radiographed, the detector's faults are taken away, and pictures and DICOM are written.

python examples/xray_radiograph.py FOLDER [PIXELS]

Everything is made from the thorax phantom; the pictures of docs/tutorials/xray.md come from here.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.acquire.xray.collimation import collimation
from somascope.acquire.xray.dual_energy import dual_energy
from somascope.acquire.xray.exposure import exposure_index
from somascope.acquire.xray.gridlines import gridlines
from somascope.acquire.xray.present import present
from somascope.acquire.xray.radiograph import radiograph
from somascope.acquire.xray.scatter import scatter
from somascope.acquire.xray.simulate import simulate
from somascope.acquire.xray.tomosynthesis import tomosynthesis
from somascope.core import Image
from somascope.io import write
from somascope.phantoms import thorax_ct


def grey(plane: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Bytes, from the 1st to the 99.7th percentile unless told otherwise."""
    low = float(np.percentile(plane, 1)) if low is None else low
    high = float(np.percentile(plane, 99.7)) if high is None else high
    return np.rint(np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def save(folder: Path, name: str, *planes: np.ndarray) -> None:
    """Planes side by side."""
    Picture.fromarray(np.hstack(planes)).save(folder / f"xray-{name}.png", optimize=True)


def shown(image: Image) -> np.ndarray:
    """A presented image as bytes."""
    return (image.data[0] >> 4).astype(np.uint8)


def main(folder: Path, pixels: int = 384) -> None:
    """Make all of it, on a detector of ``pixels`` squared over 43 cm."""
    folder.mkdir(parents=True, exist_ok=True)
    ct = thorax_ct(noise_hu=0)
    pitch = 430.0 / pixels
    size = {"rows": pixels, "columns": pixels, "pitch": pitch}

    raw = simulate(ct, mas=1.5, defects=1e-3, gain_variation=0.06, seed=1, **size)
    indexed = exposure_index(raw, target=250.0)
    chest = present(indexed)
    write(chest, folder / "chest")
    save(folder, "chest", grey(raw.samples[0]), shown(chest))

    # A portable exposure with everything against it: scatter, a stationary grid, blades.
    worst = simulate(
        ct, mas=1.5, scatter=0.3, grid_lines=0.36 / pitch, grid_contrast=0.08,
        blades=(22.0, 26.0, 30.0, 24.0), seed=2, **size,
    )  # fmt: skip
    veiled = radiograph(worst)
    clear = scatter(gridlines(veiled))
    field = collimation(clear).data[0]
    save(folder, "clean", grey(veiled.data[0], 0, 5), grey(clear.data[0] * field, 0, 6),
         shown(present(clear)))  # fmt: skip

    low = simulate(ct, kvp=60.0, mas=8.0, copper=0.0, seed=3, **size)
    high = simulate(ct, kvp=120.0, mas=4.0, copper=1.0, seed=4, **size)
    soft, bone = dual_energy(low, high, smoothing=3.0)
    save(folder, "dual-energy", shown(present(high)), grey(soft.data[0], 0, 30),
         grey(bone.data[0], 0, 3))  # fmt: skip

    few = {"rows": pixels // 2, "columns": pixels // 2, "pitch": 2 * pitch}
    sweep = simulate(ct, exposures=21, sweep=40.0, mas=6.0, seed=5, **few)
    slices = tomosynthesis(sweep, slice_distance=8.0, iterations=2)
    depth = np.linspace(0.25, 0.72, 3) * slices.grid.shape[0]
    save(folder, "tomosynthesis", *(grey(slices.data[int(k)], 0.0, 0.03) for k in depth))

    facts = indexed.attributes
    print(f"exposure index {facts['ExposureIndex']:.0f}, deviation {facts['DeviationIndex']:+.1f}")
    patient = present(replace(indexed), plane="patient").grid.spacing[1]
    print(f"pixel {pitch:.3f} mm at the detector, {patient:.3f} mm in the patient's middle")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 384)
