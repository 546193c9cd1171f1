"""Head motion of a simulated run, found and taken out: Somascope and SimpleITK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.acquire import rigid
from somascope.acquire.fmri.realign import estimate, reslice
from somascope.acquire.fmri.simulate import head_motion, simulate
from somascope.core import Image
from somascope.phantoms import brain_grid, brain_mr

Array = np.ndarray


def _theirs(run: Image) -> Array:
    """Motion matrices ``(scans, 4, 4)`` by SimpleITK's mean squares, three levels, all resliced."""
    import SimpleITK as sitk  # noqa: N813

    dz, dy, dx = run.grid.spacing
    images = []
    for volume in np.asarray(run.data):
        image = sitk.GetImageFromArray(volume)
        image.SetSpacing((dx, dy, dz))
        image.SetOrigin(run.grid.origin)
        images.append(image)
    found = []
    for image in images:
        begin = sitk.Euler3DTransform()
        begin.SetCenter(tuple(rigid.centre_of(run.grid)))
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMeanSquares()
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(0.5, 1e-4, 100)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([2, 1])
        method.SetSmoothingSigmasPerLevel([4.0, 2.0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(begin, inPlace=True)
        method.Execute(images[0], image)
        sitk.Resample(image, images[0], begin, sitk.sitkBSpline, 0.0)
        matrix = np.eye(4)
        turn = np.array(begin.GetMatrix()).reshape(3, 3)
        centre = np.array(begin.GetCenter())
        matrix[:3, :3] = turn
        matrix[:3, 3] = np.array(begin.GetTranslation()) + centre - turn @ centre
        found.append(matrix)
    return np.stack(found)


def _ours(run: Image) -> Array:
    motion = estimate(run)
    reslice(run, motion)
    centre = rigid.centre_of(run.grid)
    return np.stack([rigid.matrix(p, centre) for p in motion.parameters])


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Up to 1.5 mm and 1.5 degrees; the error is that of points 60 mm from the centre."""
    scans, rounds = (8, 1) if small else (12, 2)
    fine = (30, 40, 32) if small else (60, 80, 64)
    spacing = tuple(s * 60 / fine[0] for s in (2.8, 2.6, 2.6))
    voxel = (6.0, 6.0, 6.0) if small else (4.0, 3.5, 3.5)
    head = brain_mr("T2", brain_grid(fine, spacing), noise=0)
    made = simulate(
        head, scans=scans, voxel=voxel, translation=1.5, rotation=1.5, noise=0.5, seed=3
    )
    centre = rigid.centre_of(made.grid)
    truth = head_motion(scans, translation=1.5, rotation=1.5, seed=3)
    exact = np.stack([rigid.matrix(p, centre) for p in truth])
    points = np.concatenate([60 * np.eye(3), -60 * np.eye(3)]) + centre
    places = np.concatenate([points, np.ones((6, 1))], axis=1)

    def error(found: Array) -> float:
        away = (found - exact) @ places.T
        return float(np.linalg.norm(away[:, :3], axis=1).max())

    yield compared(
        "fmri.realign", f"{'x'.join(map(str, made.grid.shape[::-1]))}x{scans}, 1.5 mm and degrees",
        package="SimpleITK", rounds=rounds, ours=lambda: _ours(made), peer=lambda: _theirs(made),
        quality=error, metric="greatest error of a point 60 mm off centre, mm",
    )  # fmt: skip
