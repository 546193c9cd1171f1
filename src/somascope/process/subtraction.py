"""One image less another, or over it; vessels alone by digital subtraction angiography."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Float
from somascope.process.entries import is_colour, real_values
from somascope.process.resample import resample_to, taps
from somascope.process.series import described


def _pair(image: Image, other: Image, name: str) -> Array:
    """The other's values on the image's grid, NaN beyond it; its axes are the image's or none."""
    for which in (image, other):
        real_values(which, name)
        if is_colour(which):
            raise ParameterError(f"{name} needs single values and an image is in colour")
    one = all(n == 1 for n in other.data.shape[:-3])
    if not one and other.data.shape[:-3] != image.data.shape[:-3]:
        raise GeometryError(
            f"{name}: the second image has leading axes {other.data.shape[:-3]} and the first "
            f"{image.data.shape[:-3]}; give equal ones, or one volume"
        )
    if not other.grid.allclose(image.grid):
        floating = other.with_data(other.data.astype(np.float32))
        other = resample_to(floating, image.grid, fill=np.nan)
    data = other.data.reshape(image.grid.shape) if one else other.data
    return data.astype(np.float64)


def _named(image: Image, text: str) -> dict[str, object]:
    drop = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
    return described(image, text, drop=drop)


@operation("process.subtract")
def subtract(
    image: Image,
    other: Image,
    *,
    weight: Annotated[float, Param("Factor of the second image")] = 1.0,
    absolute: Annotated[bool, Param("Without sign")] = False,
    outside: Annotated[
        float | None, Param("Result where the second image ends; none: missing (NaN)")
    ] = 0.0,
) -> Image:
    """Subtract another image, voxel by voxel in the patient.

    ``image - weight other``. The second one is brought to the grid of the first (linear); both have
    the same unit, which stays. float32; missing values in either stay missing.
    """
    if image.unit != other.unit:
        raise UnitError(
            f"process.subtract: units {image.unit!r} and {other.unit!r}; convert one of them first"
        )
    values = _pair(image, other, "process.subtract")
    with np.errstate(invalid="ignore"):
        found = image.data.astype(np.float64) - weight * values  # infinities leave nothing
    found = np.abs(found) if absolute else found
    if outside is not None:
        found = np.where(_beyond(image, other), outside, found)
    return replace(image, data=found.astype(np.float32), attributes=_named(image, "difference"))


def _beyond(image: Image, other: Image) -> Array:
    """Where the first grid leaves the second."""
    if other.grid.allclose(image.grid):
        return np.zeros(image.grid.shape, bool)
    inside = Image(np.zeros(other.grid.shape, np.float32), other.grid)
    return np.isnan(resample_to(inside, image.grid, fill=np.nan).data)


@operation("process.divide")
def divide(
    image: Image,
    other: Image,
    *,
    floor: Annotated[
        float,
        Param("Where the second image's magnitude is below this share of its largest, the result "
              "is 0", minimum=0.0, maximum=1.0),
    ] = 0.01,
    percent: Annotated[bool, Param("Change against the second image in per cent")] = False,
) -> Image:  # fmt: skip
    """Divide by another image, voxel by voxel in the patient.

    ``image / other``, or ``100 (image - other) / other``. The second one is brought to the grid of
    the first (linear). float32; equal units give a ratio of unit ``1`` (``%``), others their
    quotient. Missing values in either stay missing, but 0 is put where the second image ends.
    """
    values = _pair(image, other, "process.divide")
    finite = values[np.isfinite(values)]
    least = floor * float(np.abs(finite).max()) if finite.size else 0.0
    small = (np.abs(values) <= least) | _beyond(image, other)
    safe = np.where(small, 1.0, values)
    top = image.data.astype(np.float64)
    with np.errstate(invalid="ignore"):
        found = 100 * (top - safe) / safe if percent else top / safe
    found = np.where(small, np.where(np.isnan(top), np.nan, 0.0), found)
    if percent and image.unit != other.unit:
        raise UnitError(
            f"process.divide: a change in per cent from {other.unit!r} to {image.unit!r}; convert "
            "one of them first"
        )
    same = "%" if percent else "1"
    unit = same if image.unit == other.unit else _quotient(image.unit, other.unit)
    return replace(
        image, data=found.astype(np.float32), unit=unit, attributes=_named(image, "ratio")
    )


def _quotient(top: str, bottom: str) -> str:
    if bottom == "1":
        return top
    below = f"({bottom})" if "/" in bottom or "." in bottom else bottom
    return f"/{below}" if top == "1" else f"{top}/{below}"


def shifted(plane: Array, shift: tuple[float, float]) -> Array:
    """``plane`` ``(ny, nx)`` moved by ``(dy, dx)`` pixels, cubic; its border is repeated."""
    out = plane
    for axis, by in enumerate(shift):
        if by == 0:
            continue
        n = plane.shape[axis]
        index, weight = taps(np.arange(n) - by, n, order="cubic")
        rows = np.moveaxis(out, axis, -1)
        out = np.moveaxis((rows[..., index] * weight).sum(axis=-1), -1, axis)
    return out


def estimate_shift(
    fixed: Float, moving: Float, *, iterations: int = 30, border: int = 4
) -> tuple[float, float]:
    """The ``(dy, dx)`` in pixels by which ``moving`` has to be moved to lie on ``fixed``.

    Gauss-Newton on the difference with Tukey's weights, which leave the vessels out; begun from the
    peak of the phase correlation.
    """
    dy, dx = _coarse(fixed, moving)
    edge = border + int(np.ceil(max(abs(dy), abs(dx))))
    inner = np.s_[edge:-edge, edge:-edge] if min(fixed.shape) > 4 * edge else np.s_[:, :]
    for _ in range(iterations):
        moved = shifted(moving, (dy, dx))
        gy, gx = np.gradient(moved)
        rest = (fixed - moved)[inner]
        middle = float(np.median(rest))
        spread = 1.4826 * float(np.median(np.abs(rest - middle))) + 1e-12
        weight = np.maximum(1 - ((rest - middle) / (4.685 * spread)) ** 2, 0) ** 2
        a, b = -gy[inner], -gx[inner]
        w = weight
        m = np.array([[(w * a * a).sum(), (w * a * b).sum(), (w * a).sum()],
                      [(w * a * b).sum(), (w * b * b).sum(), (w * b).sum()],
                      [(w * a).sum(), (w * b).sum(), w.sum()]])  # fmt: skip
        r = np.array([(w * a * rest).sum(), (w * b * rest).sum(), (w * rest).sum()])
        try:
            step = np.linalg.solve(m + 1e-12 * np.trace(m) * np.eye(3), r)
        except np.linalg.LinAlgError:
            break
        limit = np.clip(step[:2], -1, 1)
        dy, dx = dy + float(limit[0]), dx + float(limit[1])
        if np.abs(limit).max() < 1e-4:
            break
    return dy, dx


def _coarse(fixed: Float, moving: Float) -> tuple[float, float]:
    ny, nx = fixed.shape
    if min(ny, nx) < 8:
        return 0.0, 0.0
    window = np.outer(np.hanning(ny), np.hanning(nx))
    a, b = (np.fft.rfft2((p - p.mean()) * window) for p in (fixed, moving))
    cross = a * np.conj(b)
    found = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), (ny, nx))
    y, x = np.unravel_index(int(np.argmax(found)), found.shape)
    dy, dx = float(y - ny if y > ny // 2 else y), float(x - nx if x > nx // 2 else x)
    # A shift of more than an eighth of the image is no pixel shift but a mistake.
    return (dy, dx) if abs(dy) < ny / 8 and abs(dx) < nx / 8 else (0.0, 0.0)


@operation("process.dsa")
def dsa(
    image: Image,
    *,
    first: Annotated[int, Param("Number of the first mask image, from 1", minimum=1)] = 1,
    count: Annotated[
        int, Param("How many images are averaged to the mask", minimum=1, maximum=64)
    ] = 1,
    scale: Annotated[
        Literal["auto", "logarithmic", "linear"],
        Param("Of the pixel values: logarithmic ones are subtracted as they are, linear ones after "
              "their logarithm; auto: as PixelIntensityRelationship says, else linear"),
    ] = "auto",
    registration: Annotated[
        Literal["automatic", "given", "none"],
        Param("Shift the mask by parts of a pixel to lie under each image"),
    ] = "automatic",
    shift: Annotated[
        tuple[float, float], Param("Of the mask, down and right, where it is given", unit="pixel")
    ] = (0.0, 0.0),
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Digital subtraction angiography: each image less the mask, so that vessels alone remain.

    ``-(ln I - ln mask)``: the vessel's attenuation times its thickness, brighter where there is
    more contrast agent, unit ``1``. A film along ``t`` (or ``frame``) of flat images. The mask is
    moved by whole and parts of pixels (cubic) to fit each image, vessels left out (Tukey's
    weights). Missing values stay missing.
    """
    name = "process.dsa"
    real_values(image, name)
    if is_colour(image):
        raise ParameterError(f"{name} needs single values and this image is in colour")
    if len(image.axes) != 1 or image.grid.shape[0] != 1:
        raise GeometryError(
            f"{name} takes a film of flat images (axes t, y, x) and was given {image.axis_names}"
        )
    frames = image.data[:, 0].astype(np.float64)
    if first - 1 + count > len(frames) or len(frames) < 2:
        raise ParameterError(
            f"{name}: mask images {first} to {first + count - 1} of a film of {len(frames)}; give "
            "ones that there are"
        )
    kind = str(image.attributes.get("PixelIntensityRelationship") or "")
    taken = scale if scale != "auto" else ("logarithmic" if kind == "LOG" else "linear")
    if taken == "linear":
        if np.nanmin(frames) < 0:
            raise ParameterError(f"{name}: negative intensities have no logarithm; say logarithmic")
        positive = frames[frames > 0]
        least = 0.5 * float(positive.min()) if positive.size else 1.0
        frames = -np.log(np.maximum(frames, least))
    missing = np.isnan(frames)
    frames = np.where(missing, np.nanmedian(frames) if not missing.all() else 0.0, frames)
    mask = frames[first - 1 : first - 1 + count].mean(axis=0)
    result = np.empty_like(frames)
    for i in progress.over(range(len(frames)), "subtracting"):
        by = (0.0, 0.0)
        if registration == "given":
            by = shift
        elif registration == "automatic" and not (count == 1 and i == first - 1):
            by = estimate_shift(frames[i], mask)
        result[i] = frames[i] - shifted(mask, by)
    result[missing] = np.nan
    attributes = _named(image, "DSA")
    attributes.pop("PixelIntensityRelationship", None)
    attributes.pop("PixelIntensityRelationshipSign", None)
    attributes.pop("PhotometricInterpretation", None)
    return replace(image, data=result[:, None].astype(np.float32), unit="1", attributes=attributes)
