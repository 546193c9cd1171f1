"""Where tissue differs between people: maps on a template, a model at every voxel, permutation.

Ashburner and Friston, Voxel-based morphometry, NeuroImage 11 (2000) 805-821.
"""

from __future__ import annotations

from somascope.analyze.morphometry.maps import modulated
from somascope.analyze.morphometry.model import rearranged
from somascope.analyze.morphometry.vbm import morphometry

__all__ = ["modulated", "morphometry", "rearranged"]
