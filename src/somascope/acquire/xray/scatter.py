"""`acquire.xray.scatter`: scattered radiation is estimated and taken away."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.fields import find_field
from somascope.acquire.xray.present import densities, direction
from somascope.acquire.xray.scattering import Scatter
from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Float


@operation("acquire.xray.scatter")
def scatter(
    image: Image,
    *,
    ratio: Annotated[
        float | None,
        Param(
            "Scatter to primary per unit of line integral; none: from the blades' shadow",
            minimum=0.0,
            maximum=5.0,
        ),
    ] = 0.3,
    width: Annotated[
        float, Param("Spread of the scatter", unit="mm", minimum=5.0, maximum=1000.0)
    ] = 150.0,
    keep: Annotated[
        float, Param("Share of the scatter that stays", minimum=0.0, maximum=1.0, advanced=True)
    ] = 0.0,
    iterations: Annotated[int, Param("Rounds", minimum=1, maximum=50, advanced=True)] = 12,
) -> Image:
    """Estimate scatter from the image by kernel superposition and remove it.

    Finds the primary ``P`` for which ``P + S(P)`` is the image, with the model of `Scatter`.
    Without a ratio it is fitted to the signal behind the collimator's blades, where only scatter
    arrives. Line integrals (the open beam must be 0) come back as line integrals of the primary;
    counts as counts, the open beam being the 99.9 percentile. One plane, float32.

    Raises
    ------
    ParameterError
        No ratio given and no shadow of blades in the image.
    """
    one_plane(image, "acquire.xray.scatter")
    linear = image.unit == "{counts}"
    total = np.exp(-densities(image).astype(np.float64))
    _, dy, dx = image.grid.spacing
    if ratio is None:
        ratio = ratio_from_blades(total, width=width, pitch=(dy, dx))
    model = Scatter(ratio, width)
    primary, scattered = separated(total, model, pitch=(dy, dx), iterations=iterations)
    kept = primary + keep * scattered
    if linear:
        return image.with_data((image.data[0] * kept / total)[None].astype(np.float32))
    return image.with_data(-direction(image) * np.log(kept)[None].astype(np.float32))


def separated(
    total: Float, model: Scatter, *, pitch: tuple[float, float], iterations: int = 12
) -> tuple[Float, Float]:
    """Primary and scatter ``(ny, nx)`` of a signal relative to the open beam.

    ``P <- P T / (P + S(P))``, which keeps ``P`` positive; what is left of the difference after the
    last round goes to the scatter.
    """
    floor = 1e-6
    total = np.maximum(total, floor)
    primary = total.copy()
    ones = np.ones_like(total)
    for _ in range(iterations):
        primary = np.maximum(primary * total / (primary + model.of(primary, ones, pitch)), floor)
    return primary, np.maximum(total - primary, 0.0)


def ratio_from_blades(total: Float, *, width: float, pitch: tuple[float, float]) -> float:
    """The ratio for which the model gives the signal that is measured behind the blades.

    Raises
    ------
    ParameterError
        The field reaches the borders, so there is no shadow.
    """
    from scipy.ndimage import binary_erosion

    inside = find_field(-np.log(np.maximum(total, 1e-12))).mask(total.shape)
    shadow = np.asarray(binary_erosion(~inside, iterations=3, border_value=1), bool)
    if shadow.sum() < 100:
        raise ParameterError(
            "no collimator blade was found in the image, so the scatter cannot be measured behind "
            "it; give the ratio"
        )
    ones = np.ones_like(total)
    ratio = 0.3
    for _ in range(8):
        model = Scatter(ratio, width)
        field = np.where(inside, total, 1e-6)
        primary, _ = separated(field, model, pitch=pitch, iterations=8)
        expected = model.of(np.where(inside, primary, 0.0), ones, pitch)
        step = float((total[shadow] @ expected[shadow]) / (expected[shadow] @ expected[shadow]))
        ratio = float(np.clip(ratio * step, 1e-3, 5.0))
        if abs(step - 1) < 1e-3:
            break
    return ratio
