"""`ReadReport` and `ConvertReport`: what was made, and what was not and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from somascope.core.acquisition import Acquisition
from somascope.core.finding import Box, Label, Mask, Measurement, Warp
from somascope.core.image import Image


@dataclass(eq=False)
class ReadReport:
    """Everything found behind a path.

    ``problems`` holds ``(name, reason)``: files that could not be read, and what about the read
    ones is worth knowing (missing slices, a tilt). A name is a file name or a series UID.
    """

    images: list[Image] = field(default_factory=list[Image])
    masks: list[Mask] = field(default_factory=list[Mask])
    acquisitions: list[Acquisition] = field(default_factory=list[Acquisition])
    findings: list[Label | Box | Measurement] = field(
        default_factory=list[Label | Box | Measurement]
    )
    warps: list[Warp] = field(default_factory=list[Warp])
    """Spatial registrations, linear and deformable."""
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    skipped: list[str] = field(default_factory=list[str])
    """Names of files in a folder that are of no known image format (notes, side-cars)."""
    errors: list[Exception] = field(default_factory=list[Exception])
    """The exceptions behind ``problems``, where there were any."""

    @property
    def nouns(self) -> list[Image | Mask | Acquisition]:
        """All arrays that were read: images, masks, raw acquisitions (findings have no array)."""
        return [*self.images, *self.masks, *self.acquisitions]

    def problem(self, name: str, error: Exception) -> None:
        """Note that ``name`` could not be read."""
        self.problems.append((name, str(error)))
        self.errors.append(error)

    def add(self, other: ReadReport) -> None:
        """Append what another report holds."""
        self.images += other.images
        self.masks += other.masks
        self.acquisitions += other.acquisitions
        self.findings += other.findings
        self.warps += other.warps
        self.problems += other.problems
        self.skipped += other.skipped
        self.errors += other.errors


@dataclass(eq=False)
class ConvertReport:
    """``written`` are the image files made, side-cars not counted; ``problems`` as above."""

    written: list[Path] = field(default_factory=list[Path])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
