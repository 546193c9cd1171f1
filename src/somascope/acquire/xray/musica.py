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
from somascope.process.pyramid import decompose, rebuild


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
    """The contrast law on one plane ``(ny, nx)``, float32.

    Per band ``b``: ``g_b M sign(b) |b / M|^power``, straight below ``noise M``, with ``M`` the
    99.9 percentile of all bands' magnitudes; above ``M`` the slope stays one.
    """
    bands = decompose(plane, levels)
    magnitude = np.concatenate(
        [np.abs(b).reshape(-1)[:: max(1, b.size // 65536)] for b in bands[:-1]]
    )
    largest = float(np.percentile(magnitude, 99.9)) if magnitude.size else 0.0
    if largest <= 0:
        return np.asarray(plane, np.float32)
    count = len(bands) - 1
    out: list[Array] = []
    for k, band in enumerate(bands[:-1]):
        fine = 1.0 + edges * max(0.0, 1.0 - k / 3.0)
        coarse = 1.0 - (1.0 - latitude) * max(0.0, (k + 1) / count - 0.5) * 2.0
        out.append(_law(band, largest, power, noise) * np.float32(fine * coarse))
    rest = bands[-1]
    middle = np.float32(np.mean(rest))
    out.append(middle + np.float32(latitude) * (rest - middle))
    return rebuild(out)


def _law(band: Array, largest: float, power: float, noise: float) -> Array:
    x = np.abs(band) / np.float32(largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(x > noise, x ** np.float32(power - 1.0), np.float32(noise ** (power - 1.0)))
    # Beyond the largest usual difference (metal, a marker) nothing is lowered below itself.
    gain = np.maximum(gain, 1.0)
    return (band * gain).astype(np.float32)
