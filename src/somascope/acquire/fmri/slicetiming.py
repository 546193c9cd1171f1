"""Slices of one scan are measured one after the other: bring them to one moment.

Each voxel's course is shifted by its slice's delay in Fourier space, which is the interpolation by
sinc of a course that is mirrored at its ends (no jump from the last scan to the first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.fmri.choices import RepetitionTime
from somascope.acquire.fmri.runs import like_run, repetition_time, volumes
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.fmri.slicetiming"


def shift(courses: Array, delay: float) -> Array:
    """``courses`` ``(scans, v)`` as they were ``delay`` scans later (earlier where negative)."""
    n = len(courses)
    line = np.linspace(0, 1, n, dtype=np.float32)[:, None] if n > 1 else np.zeros((1, 1))
    # A trend would bend at the mirrored ends: it is shifted by hand.
    first, last = courses[:1], courses[-1:]
    trend = first + (last - first) * line
    calm = courses - trend
    ring = np.concatenate([calm, -calm[-2:0:-1]])
    spectrum = np.fft.rfft(ring, axis=0)
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(len(ring)) * delay)
    if len(ring) % 2 == 0:
        phase[-1] = phase[-1].real
    moved = np.fft.irfft(spectrum * phase[:, None], n=len(ring), axis=0)[:n]
    slope = (last - first) / max(n - 1, 1)
    return (moved + trend + slope * delay).astype(np.float32)


def times_of(
    run: Image, given: Sequence[float], order: str, repetition: float
) -> Float:  # fmt: skip
    """When each slice (in the order of z) is measured, s after the scan begins.

    As given, else by ``order``, else from the attribute ``SliceTiming`` (a BIDS side-car, a
    Siemens mosaic).
    """
    nz = run.grid.shape[0]
    if given:
        times = np.asarray(given, np.float64)
    elif order != "stated":
        rank = {
            "ascending": np.arange(nz),
            "descending": np.arange(nz)[::-1],
            "interleaved": np.argsort(
                np.concatenate([np.arange(0, nz, 2), np.arange(1, nz, 2)]), kind="stable"
            ),
        }[order]
        times = rank * repetition / nz
    else:
        stated = run.attributes.get("SliceTiming")
        if not isinstance(stated, (list, tuple)):
            raise ParameterError(
                f"{NAME}: the run does not state when its slices were measured; give times (s, one "
                "per slice) or an order"
            )
        times = np.asarray(stated, np.float64)
    if times.shape != (nz,):
        raise ParameterError(f"{NAME}: {times.size} slice times for {nz} slices; give one each")
    if times.min() < 0 or times.max() > repetition * 1.001:
        raise ParameterError(
            f"{NAME}: slice times from {times.min():g} to {times.max():g} s do not fit into a scan "
            f"of {repetition:g} s; give seconds"
        )
    return times


@operation(NAME)
def slicetiming(
    run: Image,
    *,
    times: Annotated[
        tuple[float, ...],
        Param("When each slice is measured, in the order of z; empty: as the run states or by "
              "order", unit="s"),
    ] = (),
    order: Annotated[
        Literal["stated", "ascending", "descending", "interleaved"],
        Param("Order of the slices where no times are given (interleaved: 0, 2, ... 1, 3, ...)"),
    ] = "stated",
    moment: Annotated[
        float, Param("Moment of the scan all are brought to, 0 its start, 1 its end",
                     minimum=0.0, maximum=1.0),
    ] = 0.5,
    repetition: RepetitionTime = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Bring all slices of a scan to one moment.

    Shape ``(t, nz, ny, nx)`` in and out, float32. Give ``moment`` times the repetition time to
    `acquire.fmri.glm` as its reference time.
    """
    data = volumes(run, NAME, least=4)
    spacing = repetition_time(run, repetition, NAME)
    delays = (moment * spacing - times_of(run, times, order, spacing)) / spacing
    out = np.empty_like(data)
    for z in progress.over(range(len(delays)), "shifting"):
        part = data[:, z].reshape(len(data), -1)
        out[:, z] = shift(part, float(delays[z])).reshape(data[:, z].shape)
    return like_run(run, out, "slice-timed", drop=("SliceTiming",))
