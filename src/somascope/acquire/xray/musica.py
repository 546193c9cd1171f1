"""`acquire.xray.musica`: contrast equalised over scales, as radiographs are processed for reading.

Vuylsteke and Schoeters (SPIE 2167:551, 1994): small differences are raised and large ones lowered
by a power law in every band of a Laplacian pyramid; fine bands can be raised for sharpness, coarse
ones lowered for latitude, and differences below the noise are not raised further.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


@operation("acquire.xray.musica")
def musica(
    image: Image,
    *,
    power: Annotated[
        float, Param("Exponent of the contrast law; 1 changes nothing", minimum=0.3, maximum=1.0)
    ] = 0.7,
    edges: Annotated[
        float, Param("Extra gain of the finest bands", minimum=0.0, maximum=5.0)
    ] = 0.5,
    latitude: Annotated[
        float, Param("Gain of the coarsest bands and of what is left", minimum=0.1, maximum=1.0)
    ] = 0.7,
    noise: Annotated[
        float,
        Param("Differences below this share of the largest are noise", minimum=1e-4, maximum=0.5),
    ] = 0.01,
    levels: Annotated[int, Param("Bands", minimum=1, maximum=12, advanced=True)] = 8,
) -> Image:
    """Equalise the contrast of a radiograph over scales (Laplacian pyramid, power law).

    The image is one plane ``(1, rows, columns)`` of line integrals (dense is high) or any other
    values on a logarithmic scale; unit and mean level stay, data float32.
    """
    one_plane(image, "acquire.xray.musica")
    if image.unit == "{counts}":
        raise ParameterError(
            "acquire.xray.musica works on a logarithmic scale and this image is in counts; correct "
            "it with the logarithm"
        )
    plane = equalised(
        image.data[0], power=power, edges=edges, latitude=latitude, noise=noise, levels=levels
    )
    return image.with_data(plane[None])


def equalised(
    plane: Array,
    *,
    power: float = 0.7,
    edges: float = 0.5,
    latitude: float = 0.7,
    noise: float = 0.01,
    levels: int = 8,
) -> Array:
    """`somascope.process.sharpen.equalised` of one plane ``(ny, nx)``, float32."""
    from somascope.process.sharpen import equalised as of_volume

    return of_volume(
        np.asarray(plane, np.float32)[None], power=power, edges=edges, latitude=latitude,
        noise=noise, levels=levels,
    )[0]  # fmt: skip
