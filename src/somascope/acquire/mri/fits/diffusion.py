"""Diffusion: ADC, and the tensor with its mean, anisotropy and directions."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.fits import curves
from somascope.core import QUIET, Axis, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.series import map_image, points, stacked, voxels

Threshold = Annotated[
    float,
    Param("Voxels below this share of the greatest signal are left at 0", minimum=0.0, maximum=1.0),
]


@operation("acquire.mri.adc")
def adc(image: Image, *, threshold: Threshold = 0.05, progress: Progress = QUIET) -> Image:
    """Apparent diffusion coefficient in mm2/s from images along the axis ``b`` (s/mm2).

    Least squares of ``S = S0 exp(-b D)``; several directions of one b enter alike.
    """
    x, values = points(image, "b", "acquire.mri.adc", least=2)
    rows, chosen = voxels(np.abs(values), threshold)
    progress(0.1, "fit")
    found = np.maximum(curves.decay(x, rows)[:, 1], 0)
    progress(1.0, "fitted")
    return map_image(
        image, "b", found, chosen, unit="mm2/s", description="ADC",
        drop=("DiffusionBValue", "DiffusionGradientOrientation"),
    )  # fmt: skip


@operation("acquire.mri.dti")
def dti(
    image: Image,
    *,
    directions: Annotated[
        tuple[float, ...] | None,
        Param("Gradients L, P, S of each image in order; none: DiffusionGradientOrientation"),
    ] = None,
    result: Annotated[
        Literal["fa", "md", "colour", "tensor", "axial", "radial"],
        Param("Anisotropy, mean diffusivity, directions in colour, the six elements, ..."),
    ] = "fa",
    threshold: Threshold = 0.05,
    progress: Progress = QUIET,
) -> Image:
    """Diffusion tensor from images along the axis ``b`` (s/mm2) with a gradient direction each.

    Weighted linear least squares of ``log S = log S0 - b g^T D g`` (Basser et al. 1994; weights
    are the squared signals that a first fit predicts, Salvador et al. 2005). ``fa`` has no unit,
    ``md`` and the others mm2/s, ``tensor`` an axis LL, LP, LS, PP, PS, SS; ``colour`` is the main
    direction as red for left-right, green for front-back, blue for head-feet, scaled by ``fa``.
    """
    x, values = points(image, "b", "acquire.mri.dti", least=2)
    gradients = _gradients(image, directions, len(x))
    design = _design(x, gradients)
    rows, chosen = voxels(np.abs(values), threshold)
    progress(0.1, "fit")
    elements = fit_tensor(design, rows)
    progress(0.8, "eigenvalues")
    eigenvalues, vectors = eigen(elements)
    if result == "tensor":
        return _elements(image, elements, chosen)
    if result == "colour":
        return _colour(image, eigenvalues, vectors, chosen)
    found, unit = {
        "fa": lambda: (anisotropy(eigenvalues), "1"),
        "md": lambda: (eigenvalues.mean(axis=1), "mm2/s"),
        "axial": lambda: (eigenvalues[:, 2], "mm2/s"),
        "radial": lambda: (eigenvalues[:, :2].mean(axis=1), "mm2/s"),
    }[result]()
    return map_image(
        image, "b", found, chosen, unit=unit, description=f"DTI {result.upper()}",
        drop=("DiffusionBValue", "DiffusionGradientOrientation"),
    )  # fmt: skip


def _gradients(image: Image, given: tuple[float, ...] | None, count: int) -> Array:
    stated = image.attributes.get("DiffusionGradientOrientation") if given is None else given
    if stated is None:
        raise ParameterError(
            "acquire.mri.dti: the image has no DiffusionGradientOrientation; give directions, "
            f"{3 * count} numbers L, P, S for {count} images (0, 0, 0 for b = 0)"
        )
    vectors = np.asarray(stated, np.float64).reshape(-1)
    if vectors.size != 3 * count or not np.isfinite(vectors).all():
        raise ParameterError(
            f"acquire.mri.dti: directions hold {vectors.size} numbers for {count} images; give "
            f"{3 * count} finite ones"
        )
    return vectors.reshape(count, 3)


def _design(b: Array, gradients: Array) -> Array:
    """``(images, 7)``: minus b times products of the unit directions, and a constant."""
    length = np.linalg.norm(gradients, axis=1)
    if (length[b > 50] < 0.5).any():
        raise ParameterError(
            "acquire.mri.dti: images with b above 50 s/mm2 have no direction; give one of each"
        )
    l, p, s = (gradients / np.where(length > 0, length, 1)[:, None]).T
    columns = [l * l, 2 * l * p, 2 * l * s, p * p, 2 * p * s, s * s]
    design = np.stack([*(-b * c for c in columns), np.ones_like(b)], axis=1)
    scaled = design / np.maximum(np.abs(design).max(axis=0), 1e-30)
    rank = np.linalg.matrix_rank(scaled, tol=1e-3)
    if rank < 7:
        raise ParameterError(
            f"acquire.mri.dti: the gradients determine {rank} of 7 unknowns; at least six "
            "directions that are not alike and one image of another b are needed"
        )
    return design


def fit_tensor(design: Array, signals: Array) -> Array:
    """Elements LL, LP, LS, PP, PS, SS of each row of signals ``(voxels, images)``; mm2/s."""
    floor = max(float(signals.max(initial=0)), 1e-30) * 1e-6
    value = np.log(np.maximum(signals, floor))
    first = value @ np.linalg.pinv(design).T
    weight = np.exp(2 * np.clip(first @ design.T, -60, 60))
    weight /= weight.max(axis=1, keepdims=True)
    pairs = (design[:, :, None] * design[:, None, :]).reshape(len(design), 49)
    out = np.empty((len(signals), 7))
    for part in range(0, len(signals), 20_000):
        here = slice(part, part + 20_000)
        gram = (weight[here] @ pairs).reshape(-1, 7, 7)
        right = (weight[here] * value[here]) @ design
        scale = 1 / np.sqrt(np.maximum(np.einsum("vjj->vj", gram), 1e-30))
        gram = gram * scale[:, :, None] * scale[:, None, :] + 1e-12 * np.eye(7)
        out[here] = np.linalg.solve(gram, (right * scale)[..., None])[..., 0] * scale
    return out[:, :6]


def eigen(elements: Array) -> tuple[Array, Array]:
    """Eigenvalues, rising, not below zero, ``(voxels, 3)``, and vectors as columns."""
    order = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
    values, vectors = np.linalg.eigh(elements[:, order])
    return np.maximum(values, 0), vectors


def anisotropy(eigenvalues: Array) -> Array:
    """Fractional anisotropy, 0 to 1 (Basser and Pierpaoli 1996)."""
    mean = eigenvalues.mean(axis=1, keepdims=True)
    over = ((eigenvalues - mean) ** 2).sum(axis=1)
    under = (eigenvalues**2).sum(axis=1)
    return np.sqrt(1.5 * over / np.where(under > 0, under, 1))


def _rest(image: Image) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """Axes without ``b``, and the shape they and the grid have."""
    axes = tuple(a for a in image.axes if a.name != "b")
    shape = [n for a, n in zip(image.axes, image.shape, strict=False) if a.name != "b"]
    return axes, (*shape, *image.grid.shape)


def _elements(image: Image, elements: Array, chosen: Array) -> Image:
    axes, shape = _rest(image)
    data = np.zeros((6, len(chosen)), np.float32)
    data[:, chosen] = elements.T
    return stacked(
        image, data.reshape(6, *shape), (Axis("element", tuple(range(6))), *axes), unit="mm2/s",
        text="DTI tensor",
    )  # fmt: skip


def _colour(image: Image, eigenvalues: Array, vectors: Array, chosen: Array) -> Image:
    axes, shape = _rest(image)
    data = np.zeros((3, len(chosen)), np.uint8)
    shade = np.abs(vectors[:, :, 2]) * np.minimum(anisotropy(eigenvalues), 1)[:, None]
    data[:, chosen] = np.round(255 * shade).astype(np.uint8).T
    colour = np.moveaxis(data.reshape(3, *shape), 0, len(axes))
    return stacked(image, colour, (*axes, Axis("channel")), unit="1", text="DTI colour")
