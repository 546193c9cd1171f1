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

_MODEL = Param(
    "Name of an installed model (somascope model list), or a model's folder or file", opens="model"
)

_ANYWAY = Param("Look at images too that are unlike those the model was trained on")


@lru_cache(maxsize=4)
def _opened(name: str, stamp: float) -> Network:
    del stamp
    return load(name)


def opened(name: str, task: str = "") -> Network:
    """The model of that name (to do ``task``), kept open while its file does not change.

    Raises
    ------
    ParameterError
        It does another task; the message names the models that do this one.
    """
    path = Path(name) if Path(name).exists() else installed.models().get(name, Path(name))
    file = path / "card.json" if path.is_dir() else path
    model = _opened(str(name), file.stat().st_mtime if file.exists() else 0.0)
    if task and model.card.task != task:
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


@operation("models.classify_objects")
def classify_objects(
    image: Image,
    *objects: Mask,
    model: Annotated[str, _MODEL],
    detector: Annotated[
        str, Param("Where no mask says it: model to detect that finds the objects", opens="model")
    ] = "",
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> list[Box]:
    """Say which class each single object of an image belongs to.

    An object is a connected body of a segment of a mask, or a box that the detector finds. The
    model sees each of them closely, the image around it, and where it lies.
    """
    from somascope.models.detect import boxes
    from somascope.models.single import around

    network = opened(model, "classify")
    if bool(objects) == bool(detector):
        raise ParameterError("models.classify_objects: give a mask of the objects, or a detector")
    if objects:
        if not all(m.grid.allclose(image.grid) for m in objects):
            raise ParameterError(
                "models.classify_objects: the mask lies on another grid than the image; resample "
                "it onto the image's"
            )
        rows = np.concatenate([around(m) for m in objects])
    else:
        first = opened(detector, "detect")
        shown = first.card.declared(image)
        first.card.check(shown, anyway=anyway)
        rows, _, _ = boxes(first.card, first.engine, shown)
    found = cast("list[Box]", network(image, objects=rows, anyway=anyway, progress=progress))
    return [replace(b, provenance=image.provenance) for b in found]


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


@operation("models.focus")
def focus(
    image: Image,
    *,
    first: Annotated[
        str, Param("Model that says where: to segment or to detect, name or path", opens="model")
    ],
    second: Annotated[str, Param("Model that outlines there, name or path", opens="model")],
    margin: Annotated[float, Param("Around what the first finds", unit="mm", minimum=0.0)] = 20.0,
    sees: Annotated[
        Literal["image", "region"], Param("What the second was trained on: whole images or regions")
    ] = "image",
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> Mask:
    """Localise with one model, then outline with another one only there.

    Where the first finds nothing the second looks at the whole image.
    """
    from somascope.models.within import Within

    pair = Within(opened(first), opened(second, "segment"), margin_mm=margin, sees=sees)
    (found,) = pair(image, anyway=anyway, progress=progress)
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
    models: Annotated[
        str, Param("Models to segment, names or paths, parted by commas", opens="models")
    ],
    mirror: Annotated[str, Param("Axes to mirror along too: some of z, y, x")] = "",
    dropout: Annotated[
        int,
        Param("Draws of each network's dropouts; 0: the whole network", minimum=0, maximum=1000),
    ] = 0,
    seed: Annotated[int, Param("Of these draws", minimum=0)] = 0,
    kind: Annotated[
        Literal["doubt", "quarrel"],
        Param("All doubt of the mean answer, or what models and mirrors disagree about"),
    ] = "doubt",
    anyway: Annotated[bool, _ANYWAY] = False,
    progress: Progress = QUIET,
) -> Image:
    """Map how unsure segmentation models are together, from 0 (certain) to 1.

    Several models, or one at the image and its mirror images, or one with parts of it switched
    off, give their probabilities; the map is the entropy of their mean, or the part of it that is
    disagreement.
    """
    from somascope.models.together import Together, map_of

    names = [n.strip() for n in models.split(",") if n.strip()]
    members = Together(
        [opened(n, "segment") for n in names], mirror=mirror, dropout=dropout, seed=seed
    )
    found = members.look(image, anyway=anyway, progress=progress)
    return map_of(image, found.doubt if kind == "doubt" else found.quarrel)
