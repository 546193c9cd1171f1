"""Channel data that an operation can use: the right scan, finite numbers, all frames alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.core import Acquisition, Axis
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array


def scan_of(acquisition: Acquisition, name: str) -> ChannelScan:
    """The acquisition's scan, for the operation ``name``.

    Raises
    ------
    ParameterError
        Another kind of acquisition.
    GeometryError
        Samples that are not finite, or complex where the scan says RF and the other way round.
    """
    scan: Any = acquisition.operator
    if not isinstance(scan, ChannelScan):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise ParameterError(f"{name} takes ultrasound channel data (us.channels), not {kind}")
    samples = acquisition.samples
    if (samples.dtype.kind == "c") != scan.complex:
        raise GeometryError(
            f"{name}: samples of {samples.dtype} with a demodulation frequency of "
            f"{scan.demodulation_frequency:g} Hz; RF is real with 0 Hz, IQ complex with more"
        )
    if samples.dtype.kind in "fc":
        # The sum of finite numbers is finite; a bad one makes it NaN or infinite.
        with np.errstate(invalid="ignore", over="ignore"):
            total = np.sum(samples, dtype=np.complex128)
        if not np.isfinite(total):
            bad = int(np.count_nonzero(~np.isfinite(samples)))
            raise GeometryError(
                f"{name}: {bad} samples are not finite; set dead elements to zero first"
            )
    return scan


def framed(acquisition: Acquisition, scan: ChannelScan) -> Array:
    """Samples as ``(frames, transmits, elements, time)``, one frame where the scan has no axis."""
    return acquisition.samples.reshape(-1, *scan.range[-3:])


def frame_axes(scan: ChannelScan) -> tuple[Axis, ...]:
    """The ``t`` axis in seconds, or none."""
    return () if scan.times is None else (Axis("t", scan.times, "s"),)
