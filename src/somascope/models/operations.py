"""Every model behind one operation for each kind of answer: a model is a button."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np

from somascope.core import QUIET, Box, Image, Label, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.models import installed
from somascope.models.run import Network, load

_MODEL = Param("Name of an installed model (somascope model list), or a model's folder or file")

_ANYWAY = Param("Look at images too that are unlike those the model was trained on")


@lru_cache(maxsize=4)
def _opened(name: str, stamp: float) -> Network:
    del stamp
    return load(name)


def opened(name: str, task: str) -> Network:
    """The model of that name, kept open while its file does not change.

    Raises
    ------
    ParameterError
        It does another task; the message names the models that do this one.
    """
    path = Path(name) if Path(name).exists() else installed.models().get(name, Path(name))
    file = path / "card.json" if path.is_dir() else path
    model = _opened(str(name), file.stat().st_mtime if file.exists() else 0.0)
    if model.card.task != task:
        others = [n for n in installed.models() if n.startswith(task)]
        raise ParameterError(
            f"{name} is a model to {model.card.task}, not to {task}; installed are "
            f"{', '.join(others) or 'none'}"
        )
    return model


@operation("models.classify")
def classify(
    image: Image,
    *,
    model: Annotated[str, _MODEL],
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> Label:
    """Say which class an image belongs to, with the calibrated probability of each."""
    (found,) = opened(model, "classify")(image, anyway=anyway, progress=progress)
    return replace(cast("Label", found), provenance=image.provenance)


@operation("models.segment")
def segment(
    image: Image,
    *,
    model: Annotated[str, _MODEL],
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> Mask:
    """Outline what a trained model knows, on the image's own grid."""
    (found,) = opened(model, "segment")(image, anyway=anyway, progress=progress)
    return replace(cast("Mask", found), provenance=image.provenance)


@operation("models.detect")
def detect(
    image: Image,
    *,
    model: Annotated[str, _MODEL],
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> list[Box]:
    """Find objects and put a box around each, the surest first."""
    found = cast("list[Box]", opened(model, "detect")(image, anyway=anyway, progress=progress))
    return [replace(b, provenance=image.provenance) for b in found]


@operation("models.uncertainty")
def uncertainty(
    image: Image,
    *,
    models: Annotated[str, Param("Models to segment, names or paths, parted by commas")],
    mirror: Annotated[str, Param("Axes to mirror along too: some of z, y, x")] = "",
    kind: Annotated[
        Literal["doubt", "quarrel"],
        Param("All doubt of the mean answer, or what models and mirrors disagree about"),
    ] = "doubt",
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> Image:
    """Map how unsure segmentation models are together, from 0 (certain) to 1.

    Several models, or one at the image and its mirror images, give their probabilities; the map is
    the entropy of their mean, or the part of it that is disagreement.
    """
    from somascope.models.together import Together

    names = [n.strip() for n in models.split(",") if n.strip()]
    members = Together([opened(n, "segment") for n in names], mirror=mirror)
    found = members.look(image, anyway=anyway, progress=progress)
    values = (found.doubt if kind == "doubt" else found.quarrel).astype(np.float32)
    # What the image says of its shades is not said of the map.
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    attributes["ImageType"] = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    return replace(image, data=values, axes=(), unit="1", attributes=attributes)
