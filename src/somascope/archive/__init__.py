"""The archive: DICOM instances on disk, one SQL index, nothing acknowledged is ever lost."""

from __future__ import annotations

from somascope.archive.archive import Archive
from somascope.archive.records import (
    Change,
    FrameRange,
    ImportReport,
    Instance,
    Level,
    Listed,
    OutOfSpace,
    Quarantined,
    Query,
    Stats,
    Stored,
    Verification,
)

__all__ = [
    "Archive",
    "Change",
    "FrameRange",
    "ImportReport",
    "Instance",
    "Level",
    "Listed",
    "OutOfSpace",
    "Quarantined",
    "Query",
    "Stats",
    "Stored",
    "Verification",
]
