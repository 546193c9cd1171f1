"""What every finding of a network says about itself: on what, and by which model."""

from __future__ import annotations

from typing import Any

from somascope import __version__
from somascope.core import Image, Provenance, Step
from somascope.models.card import NetworkCard


def instances(image: Image) -> tuple[str, ...]:
    """SOP Instance UIDs the image was read from."""
    return tuple(u for s in image.provenance.sources for u in s.uids)


def history(card: NetworkCard, image: Image) -> Provenance:
    """The image's history and one step more: this model, by its digest."""
    params: dict[str, Any] = {"model": card.name, "version": card.version, "sha256": card.sha256}
    if card.familiar is not None:  # how usual it was: above 1 somebody said to look anyway
        params["strangeness"] = round(card.familiar.distance(image)[0] / card.familiar.limit, 3)
    inputs = tuple(s.name for s in image.provenance.sources)
    return image.provenance.then(Step(f"models.{card.task}", params, inputs, __version__))
