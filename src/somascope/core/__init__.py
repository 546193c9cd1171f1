"""The seven nouns. NumPy and nothing else.

Each is loaded when it is first named, so that who wants an error or a progress bar, as the
command line does before a verb is chosen, does not wait for arrays.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from somascope.core.operations import Operation, Param, operation
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

_HOMES = {
    "acquisition": ("Acquisition", "Operator", "Scan"),
    "finding": (
        "TISSUE",
        "Box",
        "Code",
        "Finding",
        "Label",
        "Mask",
        "Measurement",
        "Segment",
        "Tracking",
        "Warp",
    ),
    "grid": ("Grid",),
    "image": ("Axis", "Image"),
    "job": ("Job", "JobState"),
    "model": ("Card", "Model"),
    "operations": ("Operation", "Param", "operation"),
    "progress": ("QUIET", "Progress"),
    "provenance": ("Provenance", "Source", "Step"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The noun ``name``, loaded now and kept."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"somascope.core.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
