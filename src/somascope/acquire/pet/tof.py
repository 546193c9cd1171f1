"""The time-of-flight kernel: how likely a position on a line falls into a bin."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from somascope.acquire.pet.scanner import Scanner
from somascope.core.grid import Array

CUT = 3.0
"""The Gaussian ends here, in standard deviations; what is cut off is shared out."""
_STEPS = 1024


def reach(scanner: Scanner) -> float:
    """Distance in mm from a bin's centre beyond which its kernel is zero."""
    return CUT * sigma(scanner) + scanner.tof_bin_mm / 2


def sigma(scanner: Scanner) -> float:
    """Standard deviation along the line, mm."""
    return scanner.tof_fwhm_mm / math.sqrt(8 * math.log(2))


def table(scanner: Scanner) -> Array:
    """The kernel at ``reach * i / (len - 2)``, float32; the last entry is an extra zero.

    The Gaussian (cut at `CUT` and normalised) integrated over one bin, so that the bins of a line
    add up to 1 wherever they cover it.
    """
    s, w = sigma(scanner), scanner.tof_bin_mm
    distance = np.linspace(0, reach(scanner), _STEPS)
    edges = [np.clip((distance + side * w / 2) / s, -CUT, CUT) for side in (-1, 1)]
    low, high = (erf(e / math.sqrt(2)) for e in edges)
    values = 0.5 * (high - low) / erf(CUT / math.sqrt(2))
    return np.append(values, 0.0).astype(np.float32)


def centres(scanner: Scanner) -> Array:
    """Centres of the bins in mm from the middle of the line towards its second crystal, float32."""
    n = scanner.tof_bins
    return ((np.arange(n) - (n - 1) / 2) * scanner.tof_bin_mm).astype(np.float32)
