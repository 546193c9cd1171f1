"""nnU-Net v2 folders: ``dataset.json``, ``plans.json``, and beside them a graph or safetensors.

Checkpoints (``.pth``) are pickles and are never opened. What nnU-Net does before its network and
cannot be told on a card is said among the model's limits.

Source: nnU-Net v2, documentation/explanation_plans_files.md and explanation_normalization.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from somascope.core.errors import CorruptFile, ParameterError, Refused, SomascopeError
from somascope.models.foreign.found import Found, weights_of
from somascope.models.foreign.told import Told
from somascope.models.foreign.tree import Tree

_CUT = (
    "nnU-Net cuts away what is zero around a body before it scales; here the whole image is scaled"
)
_NAMED = re.compile(r"__(2d|3d_fullres|3d_lowres|3d_cascade_fullres)$")


def read(tree: Tree, told: Told, *, configuration: str = "") -> Found:
    """A trained model's folder; the user's word over its own.

    ``configuration`` is the folder's (its name ends with it), else ``3d_fullres`` where there is
    one.

    Raises
    ------
    Refused
        Several channels, regions that overlap, a 2-D network for volumes, another scaling, or no
        weights that are read here.
    CorruptFile
        A file of settings is missing or without what belongs there.
    """
    for name in ("plans.json", "dataset.json"):
        if name not in tree.names:
            raise CorruptFile(f"{tree.path.name} holds no {name}; copy the whole folder of the "
                              "trained model (nnUNetTrainer__...)")  # fmt: skip
    plans, dataset = tree.record("plans.json"), tree.record("dataset.json")
    try:
        own, network = _told(plans, dataset, tree, configuration)
    except SomascopeError:  # some are ValueErrors
        raise
    except (
        KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError,
    ) as error:  # fmt: skip
        raise CorruptFile(
            f"{tree.path.name}: plans.json and dataset.json are incomplete "
            f"({type(error).__name__}: {error})"
        ) from error
    if told.scaling is not None:  # the user's word, whole
        own = replace(own, low=None, high=None, gain=None, shift=None)
    graph, weights = weights_of(tree, among=tree.names)
    return Found(told.over(own), tree.path.name, graph, weights, network)


def _told(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], tree: Tree, configuration: str
) -> tuple[Told, Mapping[str, Any]]:
    known: Mapping[str, Any] = plans["configurations"]
    named = _NAMED.search(tree.path.name.removesuffix(".zip"))
    chosen = configuration or (named[1] if named else "")
    chosen = chosen or next((c for c in ("3d_fullres", "3d_lowres", "2d") if c in known), "")
    if chosen not in known:
        raise ParameterError(f"plans.json has no configuration {chosen!r}; it has "
                             f"{', '.join(known)}")  # fmt: skip
    if chosen == "3d_cascade_fullres":
        raise Refused(
            "the second stage of nnU-Net's cascade reads the first one's answer too, and models of "
            "one image are run here; import 3d_lowres or 3d_fullres"
        )
    wanted = _inherited(known, chosen)
    patch = tuple(int(n) for n in wanted["patch_size"])
    spacing = tuple(float(v) for v in wanted["spacing"])
    names: Mapping[str, str] = dataset.get("channel_names") or dataset["modality"]
    if len(names) != 1:
        raise Refused(
            f"the model reads {len(names)} images at a time ({', '.join(names.values())}); models "
            "of one image are run here"
        )
    labels: Mapping[str, Any] = dataset["labels"]
    if any(isinstance(v, list) for v in labels.values()):
        raise Refused("the model's labels are regions that overlap; models with one class for each "
                      "voxel are run here")  # fmt: skip
    numbered = sorted((int(v), str(k)) for k, v in labels.items())
    classes = tuple(k for v, k in numbered if v > 0 and k != "ignore")
    flat = len(patch) == 2
    turned = [int(a) for a in plans.get("transpose_forward", (0, 1, 2))]
    if flat and turned[0] != 0:
        raise Refused("a 2-D network over slices of another direction is not run here")
    axes = "zyx" if turned == [0, 1, 2] else "xyz" if turned == [2, 1, 0] else ""
    if not flat and not axes:
        raise Refused(f"the model's axes are turned by {turned}, which is not run here")
    channel = next(iter(names.values())).upper()
    scaling = _scaling(plans, wanted)
    limits = [_CUT] if scaling.scaling == "zscore" else []
    if flat:
        limits.append("made for slices of a volume; give them one by one")
        spacing = spacing[-2:]
    own = Told(
        name=f"segment.{str(plans.get('dataset_name', tree.path.name)).lower()}", task="segment",
        summary=f"nnU-Net {plans.get('dataset_name', '')} {chosen}", classes=classes,
        modalities=({"CT": ("CT",), "MRI": ("MR",), "MR": ("MR",)}.get(channel)),
        dimensions=len(patch), channels=1, axes="yx" if flat else axes, patch=patch,
        spacing=spacing, answer="logits", overlap=0.5, limits=tuple(limits) or None,
        licence=dataset.get("licence") or dataset.get("license"),
        training_data=dataset.get("reference") or plans.get("dataset_name"),
    )  # fmt: skip
    network = wanted.get("architecture") or {}
    return scaling.over(own), {**network, "channels": 1, "classes": len(classes) + 1}


def _inherited(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits; a ring is refused."""
    chain: list[str] = []
    while name:
        if name in chain:
            raise Refused("the plan's configurations inherit from each other without end")
        chain.append(name)
        name = str(known[name].get("inherits_from") or "")
    found: dict[str, Any] = {}
    for one in reversed(chain):
        found |= known[one]
    return found


def _scaling(plans: Mapping[str, Any], wanted: Mapping[str, Any]) -> Told:
    """The normalisation of the one channel."""
    kind = str(wanted["normalization_schemes"][0])
    if kind == "ZScoreNormalization":
        if any(wanted.get("use_mask_for_norm") or ()):
            raise Refused("the model scales by the voxels that are not zero (use_mask_for_norm), "
                          "which is not known here")  # fmt: skip
        return Told(scaling="zscore")
    if kind == "NoNormalization":
        return Told(scaling="none")
    if kind == "RescaleTo01Normalization":
        return Told(scaling="minmax")
    if kind == "CTNormalization":
        stored = plans["foreground_intensity_properties_per_channel"]["0"]
        low, high = float(stored["percentile_00_5"]), float(stored["percentile_99_5"])
        mean, deviation = float(stored["mean"]), max(float(stored["std"]), 1e-8)
        return Told(
            scaling="range", low=low, high=high, gain=(high - low) / deviation,
            shift=(low - mean) / deviation,
        )  # fmt: skip
    raise Refused(f"the model scales by {kind}, which is not known here")
