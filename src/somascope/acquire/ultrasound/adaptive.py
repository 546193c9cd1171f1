"""Adaptive beamforming: delay-multiply-and-sum, coherence factors, minimum variance.

Sources: Matrone et al. 2015, IEEE Trans Med Imaging 34:940 (F-DMAS; on analytic channels the pair
products have only the doubled band, so the filter is built in, Shen and Hsieh 2019, Ultrasonics
96:165); Mallart and Fink 1994 (coherence factor); Li and Li 2003, IEEE Trans UFFC 50:128
(generalised); Synnevag et al. 2007, IEEE Trans UFFC 54:1606 (minimum variance, subapertures and
diagonal loading).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.ultrasound import adaptive_kernel as kernel
from somascope.acquire.ultrasound.beamform import columns_of, image_of, seen
from somascope.acquire.ultrasound.choices import FNumber, Part, SpeedOfSound, Window
from somascope.acquire.ultrasound.das import Beamformer, in_band
from somascope.acquire.ultrasound.samples import scan_of
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

Method: TypeAlias = Literal["dmas", "coherence", "generalised coherence", "capon"]
METHODS = {
    "dmas": kernel.DMAS, "coherence": kernel.CF, "generalised coherence": kernel.GCF,
    "capon": kernel.CAPON,
}  # fmt: skip

Subaperture: TypeAlias = Annotated[
    float,
    Param("Capon: part of the active elements in a subaperture; more is sharper and less robust",
          minimum=0.05, maximum=0.7, step=0.05),
]  # fmt: skip
Loading: TypeAlias = Annotated[
    float,
    Param("Capon: diagonal loading relative to the mean power; more is nearer to delay and sum",
          minimum=1e-4, maximum=10.0, advanced=True),
]  # fmt: skip
Cutoff: TypeAlias = Annotated[
    int,
    Param("Generalised coherence: spatial frequencies on each side of zero that count as coherent",
          minimum=0, maximum=16, advanced=True),
]  # fmt: skip


@operation("acquire.ultrasound.adaptive")
def adaptive(
    acquisition: Acquisition,
    *,
    method: Annotated[
        Method, Param("How channels are combined: pairs multiplied, weighted by coherence, or with "
                      "the weights that let least through from elsewhere")
    ] = "dmas",
    f_number: FNumber = None,
    window: Window = "boxcar",
    subaperture: Subaperture = 0.5,
    loading: Loading = 0.01,
    cutoff: Cutoff = 1,
    speed_of_sound: SpeedOfSound = None,
    part: Part = "complex",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Beamform with weights that depend on the echoes: sharper, less clutter than delay and sum.

    All transmits are compounded coherently per channel first. The image is complex64 (or its
    modulus) on the scan's grid, ``(t?, z, y, x)``, unit 1; speckle statistics are not those of
    delay and sum.
    """
    scan = scan_of(acquisition, "acquire.ultrasound.adaptive")
    seen(scan)
    progress(0.0, "mixing down")
    band, iq = in_band(acquisition, scan)
    made = Beamformer(
        band, columns_of(scan.grid), f_number=f_number, window=window,
        speed_of_sound=speed_of_sound,
    )  # fmt: skip
    values = combined(
        made, iq, method=method, subaperture=subaperture, loading=loading, cutoff=cutoff,
        progress=Progress(lambda f, m: progress(0.1 + 0.9 * f, m)),
    )  # fmt: skip
    if part == "magnitude":
        values = np.abs(values)
    return image_of(acquisition, scan, values)


def combined(
    made: Beamformer,
    iq: Array,
    *,
    method: Method,
    subaperture: float = 0.5,
    loading: float = 0.01,
    cutoff: int = 1,
    progress: Progress = QUIET,
) -> Array:
    """Values ``(frames, columns, depths)`` of IQ ``(frames, transmits, elements, time)``."""
    if method not in METHODS:
        raise ParameterError(f"no method {method!r}; choose {', '.join(METHODS)}")
    if method == "capon" and made.scan.probe.kind == "matrix":
        raise ParameterError(
            "capon averages over neighbouring subapertures of a row of elements; a matrix probe "
            "has none: choose dmas or coherence"
        )
    words, tiles, common = made.prepared(iq)
    if not 0 < subaperture <= 1 or loading < 0:
        raise GeometryError(f"a subaperture of {subaperture} with a loading of {loading}")
    count, _, size = tiles.shape
    out = np.empty((count, len(iq), 2, size), np.float32)
    step = max(1, count // 16) if progress is not QUIET else count
    progress(0.0, "beamforming")
    for k in range(0, count, step):
        stop = min(count, k + step)
        in_chunks(
            kernel.adaptive_tiles, stop - k, tiles[k:stop], words, *common, METHODS[method],
            subaperture, loading, cutoff, out[k:stop],
        )  # fmt: skip
        progress(stop / count, "beamforming")
    return made.picture(out)
