"""Codes of what guidance reports; those without a standard's code are ours."""

from __future__ import annotations

from somascope.analyze.measure.codes import PATH_LENGTH
from somascope.core.finding import Code

__all__ = [
    "BREACH", "CLEAR", "CLEARANCE", "FLE", "FRE", "HIT", "LENGTH", "MISFIT", "NEAR", "REACH",
    "SHIFT", "TARGET", "TRAJECTORY", "TRE", "TRE_ENTRY", "UNCERTAIN",
]  # fmt: skip

SCHEME = "99SOMASCOPE"
LENGTH = PATH_LENGTH


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


FRE = _own("FRE", "Fiducial registration error")
FLE = _own("FLE", "Fiducial localisation error")
TRE = _own("TRE_TARGET", "Expected error at the target")
TRE_ENTRY = _own("TRE_ENTRY", "Expected error at the entry")
REACH = _own("TRE_TARGET_95", "Longest half-axis of the target's 95 % ellipsoid")
MISFIT = _own("TARGET_MISFIT", "Misfit of the images found at the target")
SHIFT = _own("TARGET_SHIFT", "Shift of the target against a rigid map")
CLEARANCE = _own("PATH_CLEARANCE", "Clearance of the path")
BREACH = _own("PATH_BREACH", "Probability that the path breaches")

CLEAR = _own("PATH_CLEAR", "Path clear of critical structures by the margin")
NEAR = _own("PATH_NEAR", "Path nearer to a critical structure than the margin")
HIT = _own("PATH_HIT", "Path meets a critical structure")

TARGET = _own("GUIDE_TARGET", "Target")
TRAJECTORY = _own("GUIDE_PATH", "Planned path")
UNCERTAIN = _own("GUIDE_UNCERTAINTY", "Where the target lies with 95 % probability")
