"""Atlases: what others' labelled images say of yours, and where you stand among others."""

from __future__ import annotations

from somascope.analyze.atlas.cases import Case, case
from somascope.analyze.atlas.cohort import Cohort, Standing, load_cohort, save_cohort
from somascope.analyze.atlas.folder import Atlas, load, load_cases, save, save_cases
from somascope.analyze.atlas.fuse import Fused, fused, majority
from somascope.analyze.atlas.propagate import Propagated, propagate
from somascope.analyze.atlas.report import gathered
from somascope.analyze.atlas.several import Several, by_cases
from somascope.analyze.atlas.staple import Performance, Staple, staple
from somascope.analyze.atlas.template import build
from somascope.analyze.atlas.tissues import Tissues, segmented

__all__ = [
    "Atlas", "Case", "Cohort", "Fused", "Performance", "Propagated", "Several", "Standing",
    "Staple", "Tissues", "build", "by_cases", "case", "fused", "gathered", "load", "load_cases",
    "load_cohort", "majority", "propagate", "save", "save_cases", "save_cohort", "segmented",
    "staple",
]  # fmt: skip
