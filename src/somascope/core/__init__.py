"""The seven nouns. NumPy and nothing else."""

from __future__ import annotations

from somascope.core.acquisition import Acquisition, Operator, Scan
from somascope.core.finding import (
    TISSUE,
    Box,
    Code,
    Finding,
    Label,
    Mask,
    Measurement,
    Segment,
    Tracking,
    Warp,
)
from somascope.core.grid import Grid
from somascope.core.image import Axis, Image
from somascope.core.job import Job, JobState
from somascope.core.model import Card, Model
from somascope.core.operation import Operation, Param, operation
from somascope.core.progress import QUIET, Progress
from somascope.core.provenance import Provenance, Source, Step

__all__ = [
    "QUIET",
    "TISSUE",
    "Acquisition",
    "Axis",
    "Box",
    "Card",
    "Code",
    "Finding",
    "Grid",
    "Image",
    "Job",
    "JobState",
    "Label",
    "Mask",
    "Measurement",
    "Model",
    "Operation",
    "Operator",
    "Param",
    "Progress",
    "Provenance",
    "Scan",
    "Segment",
    "Source",
    "Step",
    "Tracking",
    "Warp",
    "operation",
]
