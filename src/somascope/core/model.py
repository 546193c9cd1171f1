"""`Model`: looks at images and reports findings; a card says what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from somascope.core.errors import Refused
from somascope.core.finding import Finding
from somascope.core.image import Image


@dataclass(frozen=True)
class Card:
    """What a model is, and the inputs it accepts.

    ``spacing_mm`` is the accepted (smallest, largest) voxel edge; ``dimensions`` 2 or 3;
    ``task`` one of ``classify detect segment register measure``.
    """

    name: str
    version: str
    task: str
    summary: str
    modalities: tuple[str, ...] = ()
    dimensions: int = 3
    spacing_mm: tuple[float, float] = (0.0, float("inf"))
    licence: str = ""
    training_data: str = ""

    def check(self, image: Image) -> None:
        """Raise `Refused` naming the first way in which ``image`` is outside this card."""
        if self.modalities and image.modality not in self.modalities:
            raise Refused(
                f"{self.name} reads {', '.join(self.modalities)}; this image is {image.modality}. "
                "Choose a model made for that modality"
            )
        dimensions = 2 if image.grid.shape[0] == 1 else 3
        if dimensions != self.dimensions:
            raise Refused(
                f"{self.name} reads {self.dimensions}-D images; this one is {dimensions}-D "
                f"{image.grid.shape}"
            )
        low, high = self.spacing_mm
        spacing = image.grid.spacing[3 - self.dimensions :]
        if min(spacing) < low or max(spacing) > high:
            raise Refused(
                f"{self.name} reads voxels of {low:g} to {high:g} mm; this image has "
                f"{'x'.join(f'{s:.3g}' for s in spacing)} mm. Resample it first"
            )


@runtime_checkable
class Model(Protocol):
    """A card and a call."""

    @property
    def card(self) -> Card:
        """What it is and accepts."""
        ...

    def __call__(self, *images: Image) -> list[Finding]:
        """Findings on the images; raises `Refused` outside the card."""
        ...
