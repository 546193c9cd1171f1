"""Explanations as operations: a map that the archive keeps and the viewer lays over the series.

PyTorch is imported when one runs: listing operations must not load it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import MissingExtra
from somascope.process.palettes import palette

if TYPE_CHECKING:
    from somascope.learn.explain import Explanation


def _demand(verb: str) -> None:
    missing = [m for m in ("torch", "safetensors") if find_spec(m) is None]
    if missing:
        raise MissingExtra(
            f"{verb} needs {' and '.join(missing)}, not installed here: "
            'pip install "somascope[learn]"'
        )


@operation("learn.explain")
def explain(
    image: Image,
    *others: Image,
    model: Annotated[
        str,
        Param(
            "Name of an installed model, or its folder or file, kept with its weights",
            opens="model",
        ),
    ],
    method: Annotated[
        Literal[
            "gradcam",
            "gradcampp",
            "hirescam",
            "layercam",
            "eigencam",
            "gradients",
            "occlusion",
            "counterfactual",
        ],
        Param("How: class activation maps, integrated gradients, covering up, or filling in"),
    ] = "gradcam",
    target: Annotated[str, Param("The class; default the most probable")] = "",
    layer: Annotated[
        str, Param("Layer of the class activation maps; default the deepest", advanced=True)
    ] = "",
    anyway: Annotated[
        bool, Param("Look at images too that are unlike those the model was trained on")
    ] = False,
    progress: Progress = QUIET,
) -> Image:
    """Map where a model's answer comes from, on the image's own grid.

    Written to DICOM it is a Parametric Map with its colours, to be laid over the series; its series
    description says class and method, its content description deletion and insertion beside those
    of random maps. A model to register reads the fixed image and then the moving one.
    """
    _demand("learn.explain")
    from somascope.learn.explain import explain as asked

    found = asked(
        model, image, *others, method=method, target=target, layer=layer, anyway=anyway,
        progress=progress,
    )  # fmt: skip
    return mapped(image, found)


def mapped(image: Image, found: Explanation) -> Image:
    """The explanation as a Parametric Map of the image's study: from 0 to its largest value."""
    from somascope.io.dicom import lut

    data = found.map.data.astype("float32")
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    attributes["ImageType"] = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    attributes["SeriesDescription"] = f"{found.target} {found.method}"[:64]
    attributes["ContentDescription"] = (
        f"del {found.deletion:.2f}/{found.random[0]:.2f} ins {found.insertion:.2f}/"
        f"{found.random[1]:.2f}. Not for clinical use."
    )
    low, high = min(float(data.min()), 0.0), float(data.max())
    if high > low:
        colours = palette("ember")
        attributes |= lut.stated(colours.table(), lower=low, upper=high, identifier=colours.uid)
    return replace(
        found.map, data=data, axes=(), unit="1", modality=image.modality, attributes=attributes,
        provenance=image.provenance,
    )  # fmt: skip
