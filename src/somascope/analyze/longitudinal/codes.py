"""The codes of what a follow-up reports; those without a standard's code are ours."""

from __future__ import annotations

from somascope.analyze.measure import codes as measured
from somascope.core.finding import Code

SCHEME = "99SOMASCOPE"

VOLUME = measured.VOLUME
LONG = measured.LONG_AXIS
SHORT = measured.SHORT_AXIS
MEAN_DIAMETER = measured.MEAN_DIAMETER
GLYCOLYSIS = measured.GLYCOLYSIS
LYMPH_NODE = ("59441001",)
"""Values of codes that say a lesion is a lymph node."""


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


VOLUME_CHANGE = _own("VOLUME_CHANGE", "Change of volume")
DIAMETER_CHANGE = _own("DIAMETER_CHANGE", "Change of mean diameter")
LONG_CHANGE = _own("LONG_CHANGE", "Change of long axis")
DOUBLING = _own("DOUBLING_TIME", "Volume doubling time")
BURDEN = _own("VOLUME_SUM", "Volume of all lesions")
BURDEN_CHANGE = _own("VOLUME_SUM_CHANGE", "Change of the volume of all lesions")
SUM = _own("SUM_DIAMETERS", "Sum of diameters of target lesions")
SUM_BASELINE = _own("SUM_BASELINE", "Sum of diameters at baseline")
SUM_NADIR = _own("SUM_NADIR", "Smallest sum of diameters so far")
SUM_CHANGE = _own("SUM_CHANGE", "Change of the sum of diameters from baseline")
REMAINING = _own("TARGETS_REMAIN", "Target lesions that remain")
NEW_COUNT = _own("NEW_LESIONS", "Number of new lesions")

NEW = _own("LESION_NEW", "New lesion")
GROWN = _own("LESION_GROWN", "Lesion has grown")
STABLE = _own("LESION_STABLE", "Lesion is unchanged")
SHRUNK = _own("LESION_SHRUNK", "Lesion has shrunk")
RESOLVED = _own("LESION_RESOLVED", "Lesion has gone")
SPLIT = _own("LESION_SPLIT", "Part of a lesion that has split")
MERGED = _own("LESION_MERGED", "Lesion has merged with another")
UNSEEN = _own("LESION_UNSEEN", "Lesion outside the examination")
CUT = _own("LESION_CUT", "Lesion cut off by the edge of an image")
FAINT = _own("LESION_FAINT", "Lesion could not be outlined")
CANDIDATE = _own("LESION_CANDIDATE", "Change that may be a new lesion")

OTHERS = {
    "none": _own("NONTARGET_NONE", "No non-target lesions"),
    "gone": _own("NONTARGET_GONE", "Non-target lesions all gone"),
    "persisting": _own("NONTARGET_STAY", "Non-target lesions persist"),
    "grown": _own("NONTARGET_LARGER", "Non-target lesions have grown"),
}

SUL_PEAK = _own("SUL_PEAK", "SULpeak of the hottest lesion")
SUL_PRIOR = _own("SUL_PEAK_PRIOR", "SULpeak of the hottest lesion before")
GLYCOLYSIS_CHANGE = _own("TLG_CHANGE", "Change of total lesion glycolysis")
UNTRUSTED = _own("REGISTRATION_BAD", "The registration is not to be trusted")
