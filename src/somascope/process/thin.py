"""Thin slices from thick ones: what a slice averaged over its thickness is parted again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.choices import Triple, single_values
from somascope.process.denoise import noise
from somascope.process.entries import each_volume
from somascope.process.missing import filled
from somascope.process.resample import with_spacing
from somascope.process.variation import denoise

Profile = Literal["box", "gaussian"]


def averaging(
    thick: int, thin: int, *, spacing: float, step: float, thickness: float, profile: Profile
) -> Float:
    """How thick slices see thin ones: ``(thick, thin)``, rows sum to 1.

    Both stacks have the same middle; ``spacing`` and ``step`` are the distances of their slices in
    mm. A box of ``thickness`` mm takes the overlaps exactly; a Gaussian has it as its full width
    at half maximum. Beyond the stack the outer slices count again.
    """
    there = (np.arange(thick) - (thick - 1) / 2) * spacing
    # Thin slices that reach past the ends stand for the tissue beyond.
    extra = int(np.ceil((2 * thickness + spacing) / step))
    here = (np.arange(-extra, thin + extra) - (thin - 1) / 2) * step
    away = here[None] - there[:, None]
    if profile == "box":
        low = np.maximum(away - step / 2, -thickness / 2)
        high = np.minimum(away + step / 2, thickness / 2)
        weights = np.maximum(high - low, 0)
    else:
        weights = np.exp(-4 * np.log(2) * (away / thickness) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    out = weights[:, extra : extra + thin].copy()
    out[:, 0] += weights[:, :extra].sum(axis=1)
    out[:, -1] += weights[:, extra + thin :].sum(axis=1)
    return out


def parting(average: Float, *, price: float) -> Float:
    """The thin slices of least curvature that average to the thick ones: ``(thin, thick)``.

    ``argmin |A x - y|^2 + price |D x|^2``: back projection run to its end, in closed form.
    ``price`` is relative to the mean square of ``A``.
    """
    thin = average.shape[1]
    if thin == 1:
        return np.ones((1, average.shape[0])) / average.shape[0]
    first = np.diff(np.eye(thin), axis=0)
    gram = average.T @ average
    rough = first.T @ first
    if thin > 2:
        second = np.diff(np.eye(thin), 2, axis=0)
        rough = 0.05 * rough + second.T @ second
    weight = price * np.trace(gram) / thin
    return np.asarray(np.linalg.solve(gram + weight * rough, average.T))


def _applied(matrix: Array, volume: Array) -> Array:
    flat = volume.reshape(volume.shape[0], -1)
    return (matrix.astype(np.float32) @ flat).reshape(-1, *volume.shape[1:])


def thinned(
    volume: Array,
    average: Float,
    spacing: Triple,
    *,
    price: float = 1e-3,
    variation: float = 0.0,
    iterations: int = 20,
    progress: Progress = QUIET,
) -> Array:
    """Thin slices whose averages are the thick ones of ``volume`` ``(thick, ny, nx)``, float32.

    Parameters
    ----------
    average
        From `averaging`.
    spacing
        Of the thin slices, mm.
    price
        Of curvature along z, see `parting`.
    variation
        Price of total variation in the volume's unit; 0 leaves the closed form as it is. Edges
        that the slice shows sharply are then sharp along z as well.
    iterations
        Of the accelerated proximal gradient (Beck and Teboulle 2009) for it.
    """
    x = _applied(parting(average, price=price), volume)
    if variation <= 0 or iterations < 1:
        progress(1.0, "parted")
        return x
    gram, back = average.T @ average, average.T
    length = 1.0 / float(np.linalg.eigvalsh(gram)[-1])
    scale = min(spacing) / np.asarray(spacing)
    data = _applied(back, volume)
    ahead, t = x, 1.0
    level = np.float32(x.mean(dtype=np.float64))
    dual: Array | None = None
    for _ in progress.over(range(iterations), "parting"):
        moved = ahead - np.float32(length) * (_applied(gram, ahead) - data) - level
        found, dual = denoise(
            moved[..., None], length * variation, scale=scale, iterations=8, tolerance=0.0,
            low=-np.inf, held=dual,
        )  # fmt: skip
        new = found[..., 0] + level
        later = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ahead = new + np.float32((t - 1) / later) * (new - x)
        x, t = new, later
    return x


@operation("process.thin_slices")
def thin_slices(
    image: Image,
    *,
    step: Annotated[
        float | None,
        Param("Distance of the new slices; none: the edge of a pixel", unit="mm", minimum=0.05,
              maximum=100.0),
    ] = None,
    thickness: Annotated[
        float | None,
        Param("Over which a slice averages; none: as the image says, or the slices' distance",
              unit="mm", minimum=0.05, maximum=100.0),
    ] = None,
    profile: Annotated[
        Profile, Param("How a slice averages: evenly, or as a Gaussian of that width")
    ] = "box",
    smoothness: Annotated[
        float, Param("Price of curvature along z: more for more noise", minimum=1e-6, maximum=10.0,
                     advanced=True)
    ] = 1e-3,
    variation: Annotated[
        float, Param("Price of total variation, in standard deviations of the noise: sharper "
                     "edges, slower", minimum=0.0, maximum=10.0)
    ] = 0.0,
    iterations: Annotated[
        int, Param("With a price of variation", minimum=1, maximum=200, advanced=True)
    ] = 20,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Make thin slices of thick ones, sharper than interpolation (super-resolution along z).

    The new slices average to the old ones over the old thickness. Shape
    ``(*leading, nz, ny, nx)`` to ``(*leading, nz', ny, nx)``, float32, on a grid with the same
    middle and extent. Missing values are stood in for, and are missing in slices nearest to them.
    """
    single_values(image, "process.thin_slices")
    nz = image.grid.shape[0]
    dz, dy, dx = image.grid.spacing
    wanted = min(dy, dx) if step is None else step
    if nz < 2:
        raise GeometryError(
            "process.thin_slices: the image has one slice; a stack of at least two is parted"
        )
    if wanted > dz:
        raise ParameterError(
            f"process.thin_slices: step {wanted:g} mm is longer than the {dz:g} mm between slices; "
            "use process.resample to make slices fewer"
        )
    said = image.attributes.get("SliceThickness")
    width = thickness or (float(said) if said else dz)
    grid = with_spacing(image.grid, (wanted, dy, dx))
    average = averaging(
        nz, grid.shape[0], spacing=dz, step=wanted, thickness=width, profile=profile
    )
    nearest = np.clip(np.rint((np.arange(grid.shape[0]) - (grid.shape[0] - 1) / 2) * wanted / dz
                              + (nz - 1) / 2), 0, nz - 1).astype(int)  # fmt: skip
    alone = int(np.prod(image.data.shape[:-3])) == 1

    def run(volume: Array) -> Array:
        values, known = filled(volume)
        found = thinned(
            values, average, (wanted, dy, dx), price=smoothness,
            variation=variation * noise(values), iterations=iterations,
            progress=progress if alone else QUIET,
        )  # fmt: skip
        if known is not None:
            found[~known[nearest]] = np.nan
        return found

    data = each_volume(image, run, progress=QUIET if alone else progress, message="parting")
    kept = {k: v for k, v in image.attributes.items() if k != "SliceThickness"}
    if said:
        kept["SliceThickness"] = wanted
    return replace(image, data=data, grid=grid, attributes=kept)
