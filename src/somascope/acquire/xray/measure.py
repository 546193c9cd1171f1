"""`acquire.xray.mtf`, `nps`, `dqe`: the quality of a detector as findings (IEC 62220-1-1).

A curve is a measurement for each frequency, its concept saying which; so it goes into a structured
report beside the numbers that sum it up, and any reader shows it as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.quality import (
    Curve,
    along_rows,
    detective_efficiency,
    noise_power,
    slanted_edge_mtf,
)
from somascope.core import Code, Image, Measurement, Param, Provenance, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array, Float

QUANTA = {"RQA 3": 20673.0, "RQA 5": 29653.0, "RQA 7": 32490.0, "RQA 9": 31077.0}
"""Squared signal-to-noise ratio of the beam per air kerma, 1/(mm2 uGy): IEC 62220-1-1:2015.

The edition of 2003 (IEC 62220-1, table 2) has 21759, 30174, 32362 and 31077, for the older filters
of IEC 61267:1994; give those as ``quanta`` to compare with its results.
"""

SCHEME = "99SOMASCOPE"

Direction = Annotated[
    Literal["rows", "columns"],
    Param("Along which the frequencies are taken; an edge stands nearly across"),
]
Step = Annotated[
    float, Param("Distance of the points of the curve", unit="mm-1", minimum=0.05, maximum=2.0)
]
Size = Annotated[
    int, Param("Side of the squares", unit="pixel", minimum=32, maximum=1024, advanced=True)
]


@operation("acquire.xray.mtf")
def mtf(image: Image, *, direction: Direction = "rows", step: Step = 0.25) -> list[Measurement]:
    """Measure the presampled modulation transfer function from a slanted edge.

    The radiograph is of one straight opaque edge in its middle, 1.5 to 10 degrees off the pixels,
    linear in dose. Gives the frequencies of 50 and 10 per cent (``mm-1``; none where the curve
    stays above up to twice the Nyquist frequency), the value at the Nyquist frequency, and the
    curve up to there.

    Raises
    ------
    UnitError
        A logarithmic image.
    ParameterError
        Not one plane, or no single slanted edge in it.
    """
    curve, pitch = _edge(image, direction, "acquire.xray.mtf")
    nyquist = 0.5 / pitch
    found = [
        _one(image, f"MTF_F{round(100 * level)}", f"Frequency of {level:.0%} MTF", at, "/mm")
        for level in (0.5, 0.1)
        if (at := crossing(curve, level)) is not None
    ]
    found.append(
        _one(image, "MTF_NYQUIST", f"MTF at the Nyquist frequency {nyquist:.3f} /mm",
             curve.at(nyquist), "1")
    )  # fmt: skip
    return found + _points(image, curve, step, nyquist, "MTF", "Modulation transfer function", "1")


@operation("acquire.xray.nps")
def nps(
    *images: Image, direction: Direction = "rows", size: Size = 128, step: Step = 0.25
) -> list[Measurement]:
    """Measure the normalised noise power spectrum from flat exposures.

    Half-overlapping squares of all the images, each without its second-order trend; seven lines on
    each side of the axis are averaged. Gives the relative noise (standard deviation over mean,
    from the whole spectrum) and the spectrum in ``mm2`` up to the Nyquist frequency.

    Raises
    ------
    UnitError
        A logarithmic image.
    ParameterError
        No image, one that is not a plane or smaller than a square, or different pixels.
    """
    curve, relative = _noise(images, direction, size, "acquire.xray.nps")
    nyquist = float(curve.frequency[-1])
    noise = _one(images[0], "NOISE", "Relative noise", relative, "1")
    return [
        noise,
        *_points(images[0], curve, step, nyquist, "NNPS", "Normalised noise power spectrum", "mm2"),
    ]


@operation("acquire.xray.dqe")
def dqe(
    edge: Image,
    *flats: Image,
    kerma: Annotated[
        float, Param("Air kerma at the detector in the flat exposures", unit="uGy", minimum=1e-4)
    ],
    quality: Annotated[
        Literal["RQA 3", "RQA 5", "RQA 7", "RQA 9", "other"], Param("Radiation quality")
    ] = "RQA 5",
    quanta: Annotated[
        float | None,
        Param(
            "Photons per mm2 and uGy, for another quality",
            unit="mm-2.uGy-1",
            minimum=1.0,
            advanced=True,
        ),
    ] = None,
    direction: Direction = "rows",
    size: Size = 128,
    step: Step = 0.25,
) -> list[Measurement]:
    """Measure the detective quantum efficiency: an edge, and flat exposures of known air kerma.

    ``DQE(f) = MTF(f)^2 / (NNPS(f) K q)`` with the squared signal-to-noise ratio ``q`` of the beam
    per air kerma from IEC 62220-1-1:2015, up to the Nyquist frequency.

    Raises
    ------
    UnitError
        A logarithmic image.
    ParameterError
        As of `mtf` and `nps`, or no photons for another quality.
    """
    if quality == "other" and quanta is None:
        raise ParameterError(
            "acquire.xray.dqe: the quality is 'other' and its photons are not known; give quanta "
            "in 1/(mm2 uGy), or one of RQA 3, 5, 7, 9"
        )
    per_kerma = quanta if quanta is not None else QUANTA[quality]
    name = "acquire.xray.dqe"
    transfer, pitch = _edge(edge, direction, name)
    noise, _ = _noise(flats, direction, size, name)
    curve = detective_efficiency(transfer, noise, quanta=kerma * per_kerma)
    return _points(
        edge, curve, step, 0.5 / pitch, "DQE", "Detective quantum efficiency", "1",
        seen=(edge, *flats),
    )  # fmt: skip


def crossing(curve: Curve, level: float) -> float | None:
    """The first frequency at which a falling curve passes ``level``, interpolated; else None."""
    below = np.flatnonzero(curve.value < level)
    if not below.size or below[0] == 0:
        return None
    i = int(below[0])
    f, v = curve.frequency[i - 1 : i + 1], curve.value[i - 1 : i + 1]
    return float(f[0] + (v[0] - level) / (v[0] - v[1]) * (f[1] - f[0]))


def _edge(image: Image, direction: str, name: str) -> tuple[Curve, float]:
    plane, (_, pitch) = _plane(image, direction, name)
    return slanted_edge_mtf(plane, pitch=pitch), pitch


def _noise(images: Sequence[Image], direction: str, size: int, name: str) -> tuple[Curve, float]:
    planes: list[Array] = []
    pitches: set[tuple[float, float]] = set()
    for image in images:
        plane, pitch = _plane(image, direction, name)
        planes.append(plane)
        pitches.add((round(pitch[0], 6), round(pitch[1], 6)))
    if len(pitches) > 1:
        raise ParameterError(
            f"{name}: the flat images have different pixels, {sorted(pitches)} mm; take exposures "
            "of one detector"
        )
    pitch = next(iter(pitches), (1.0, 1.0))
    spectrum, fy, fx = noise_power(planes, pitch=pitch, size=size)
    weight = np.full(len(fx), 2.0)
    weight[[0, -1]] = 1.0 if size % 2 == 0 else (1.0, 2.0)
    variance = float((spectrum * weight).sum()) * float((fy[1] - fy[0]) * (fx[1] - fx[0]))
    return along_rows(spectrum, fx), float(np.sqrt(variance))


def _plane(image: Image, direction: str, name: str) -> tuple[Float, tuple[float, float]]:
    """The plane with the frequencies along its rows, and its pitch (rows apart, columns apart)."""
    one_plane(image, name)
    if image.attributes.get("PixelIntensityRelationship") == "LOG":
        raise UnitError(
            f"{name} needs values that are linear in dose and this image is logarithmic; run "
            "acquire.xray.correct with logarithm off, then acquire.xray.radiograph"
        )
    plane, pitch = np.asarray(image.data[0], np.float64), image.grid.spacing[1:]
    if direction == "columns":
        return np.ascontiguousarray(plane.T), (pitch[1], pitch[0])
    return plane, (pitch[0], pitch[1])


def _points(
    image: Image,
    curve: Curve,
    step: float,
    nyquist: float,
    code: str,
    meaning: str,
    unit: str,
    *,
    seen: Sequence[Image] = (),
) -> list[Measurement]:
    """The curve at multiples of ``step`` from one step to the Nyquist frequency."""
    count = int(np.floor(nyquist / step + 1e-9))
    return [
        _one(image, f"{code}_{f:.3f}", f"{meaning} at {f:g} /mm", curve.at(f), unit, seen=seen)
        for f in (round(step * (i + 1), 6) for i in range(count))
    ]


def _one(
    image: Image, code: str, meaning: str, value: float, unit: str, *, seen: Sequence[Image] = ()
) -> Measurement:
    images = seen or (image,)
    sources = tuple(dict.fromkeys(s for i in images for s in i.provenance.sources))
    return Measurement(
        concept=Code(code, SCHEME, meaning),
        value=value,
        unit=unit,
        on=tuple(u for s in sources if s.kind == "dicom" for u in s.uids),
        provenance=Provenance(sources, image.provenance.steps),
        attributes=image.attributes,
    )
