"""MONAI bundles: ``configs/metadata.json`` and ``inference.json``; their code is never run.

Of the settings those transforms are read that say how an image is prepared. Values written as
expressions (``$...``) are not evaluated: where one is needed the user says it.

Source: MONAI Bundle Specification 0.1.11 (docs.monai.io/en/stable/mb_specification.html).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from somascope.core.errors import CorruptFile, ParameterError, Refused, SomascopeError
from somascope.models.foreign.found import Found, weights_of
from somascope.models.foreign.told import Answer, Told
from somascope.models.foreign.tree import Tree

METADATA = "configs/metadata.json"
_PASSED = {
    "LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "AddChanneld", "CastToTyped",
    "AsChannelFirstd", "ToDeviced", "LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor",
    "Identityd", "DataStatsd",
}  # fmt: skip
"""Transforms that change no value and no place."""
_LARGEST_DEPTH = 40
_MOST_VALUES = 100_000


def read(tree: Tree, told: Told) -> Found:
    """A bundle; the user's word over its own.

    Raises
    ------
    CorruptFile
        Settings that are none.
    Refused
        A transform or a value that is not understood, an answer that is none of ours, or no
        weights that are read here.
    """
    about = tree.record(METADATA)
    names = [n for n in ("configs/inference.json", "configs/evaluate.json") if n in tree.names]
    settings = tree.record(names[0]) if names else {}
    try:
        own = _prepared(settings, _format(about, told), told)
    except SomascopeError:  # some are ValueErrors
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CorruptFile(
            f"{tree.path.name}: its settings hold what no bundle's do ({type(error).__name__}: "
            f"{error})"
        ) from error
    graph, weights = weights_of(tree, among=[n for n in tree.names if n.startswith("models/")])
    network = _resolved(settings, settings.get("network_def", settings.get("network", {})))
    return Found(told.over(own), tree.path.name, graph, weights,
                 network if isinstance(network, Mapping) else {})  # fmt: skip


def described(text: str) -> Mapping[str, Any]:
    """A network's description given by hand, as JSON."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"the network's description is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ParameterError("the network's description is no JSON object")
    return cast("dict[str, Any]", found)


def _format(about: Mapping[str, Any], told: Told) -> Told:
    """What ``network_data_format`` and the rest of the metadata say."""
    formats = about.get("network_data_format") or {}
    inputs, outputs = formats.get("inputs") or {}, formats.get("outputs") or {}
    if len(inputs) > 1:
        raise Refused(f"the bundle's network reads {len(inputs)} inputs ({', '.join(inputs)}); one "
                      "image is given to a model here")  # fmt: skip
    given: Mapping[str, Any] = next(iter(inputs.values()), {})
    said: Mapping[str, Any] = next(iter(outputs.values()), {})
    shape = given.get("spatial_shape") or []
    kinds = {"segmentation": "segment", "probabilities": "classify", "classes": "classify",
             "labels": "classify", "logits": "classify"}  # fmt: skip
    task = told.task or kinds.get(str(said.get("format", "")).lower())
    channels = said.get("channel_def") or {}
    classes = [str(v) for _, v in sorted(channels.items(), key=lambda i: int(i[0]))]
    if task == "segment":
        classes = [c for c in classes if c.lower() not in ("background", "bg")]
    fixed = tuple(shape) if shape and all(isinstance(n, int) and n > 0 for n in shape) else None
    text = str(about.get("name") or "")
    slug = "-".join(text.lower().replace("_", " ").split())
    return Told(
        name=f"{task}.{slug}" if slug and task else None, version=_str(about.get("version")),
        task=task, summary=_str(about.get("description")), classes=tuple(classes) or None,
        modalities=_modalities(given), dimensions=len(shape) or None,
        channels=_int(given.get("num_channels")), patch=fixed, size=fixed,
        licence=_str(about.get("license") or about.get("copyright")),
        training_data=_str(about.get("data_source")),
        intended_use=_str(about.get("intended_use")),
    )  # fmt: skip


def _modalities(given: Mapping[str, Any]) -> tuple[str, ...] | None:
    """DICOM's codes for what bundles call the modality or the format."""
    known = {"ct": "CT", "hounsfield": "CT", "mr": "MR", "mri": "MR", "magnitude": "MR",
             "t1": "MR", "t2": "MR", "pet": "PT", "pt": "PT", "us": "US", "ultrasound": "US",
             "x-ray": "DX", "cxr": "DX"}  # fmt: skip
    for key in ("modality", "format"):
        code = known.get(str(given.get(key, "")).lower())
        if code:
            return (code,)
    return None


def _prepared(settings: Mapping[str, Any], own: Told, told: Told) -> Told:
    """What the transforms before the network, the inferer and the activation say."""
    steps = _resolved(settings, settings.get("preprocessing", {}))
    listed = steps.get("transforms", []) if isinstance(steps, Mapping) else steps
    own = replace(own, axes="xyz" if own.dimensions != 2 else "xy")  # as MONAI loads a file
    for step in listed if isinstance(listed, list) else []:
        if isinstance(step, Mapping) and not step.get("_disabled_"):
            own = _step(str(step.get("_target_", "")).rsplit(".", 1)[-1], step, own, told)
    inferer = _resolved(settings, settings.get("inferer", {}))
    if isinstance(inferer, Mapping):
        roi = inferer.get("roi_size")
        if isinstance(roi, list) and all(isinstance(n, int) for n in roi):
            own = replace(own, patch=tuple(roi))
        overlap = inferer.get("overlap")
        if isinstance(overlap, int | float):
            own = replace(own, overlap=float(overlap))
    return replace(own, answer=_answer(settings, own))


def _step(kind: str, step: Mapping[str, Any], own: Told, told: Told) -> Told:
    """One transform; `Refused` for one that is not understood where the user did not say more."""

    def numbers(key: str) -> tuple[float, ...]:
        value = step.get(key)
        listed = value if isinstance(value, list) else [value]
        found = [v for v in listed if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(found) != len(listed):
            raise Refused(f"the bundle's {kind} has {key} {value!r}, which is not evaluated; say "
                          "it with flags (--spacing, --scaling, --range)")  # fmt: skip
        return tuple(float(v) for v in found)

    plain = kind.removesuffix("d")
    if kind in _PASSED:
        return own
    if plain == "Orientation":
        return replace(own, axes=str(step.get("axcodes", "RAS")).upper())
    if plain == "Spacing":
        return own if told.spacing else replace(own, spacing=numbers("pixdim"))
    if plain == "Resize" and own.task == "classify":
        return replace(own, size=tuple(int(v) for v in numbers("spatial_size")))
    if told.scaling is not None and plain.startswith(("Scale", "Normalize", "Clip")):
        return own
    if own.scaling is not None and plain.startswith(("Scale", "Normalize", "Clip")):
        raise Refused(
            f"the bundle scales values by {kind} after another step that does, which is not known "
            "here; say with flags (--scaling, --range) what both come to"
        )
    if plain == "ScaleIntensityRange":
        (low,), (high,) = numbers("a_min"), numbers("a_max")
        least = numbers("b_min")[0] if step.get("b_min") is not None else 0.0
        most = numbers("b_max")[0] if step.get("b_max") is not None else 1.0
        if not step.get("clip"):
            gain = (most - least) / (high - low)
            return replace(own, scaling="none", gain=gain, shift=least - gain * low)
        return replace(own, scaling="range", low=low, high=high, gain=most - least, shift=least)
    if plain == "NormalizeIntensity" and not step.get("nonzero"):
        if step.get("subtrahend") is None and step.get("divisor") is None:
            return replace(own, scaling="zscore")
        (mean,), (deviation,) = numbers("subtrahend"), numbers("divisor")
        return replace(own, scaling="none", gain=1 / deviation, shift=-mean / deviation)
    if plain == "ScaleIntensity" and step.get("factor") is None:
        least = numbers("minv")[0] if step.get("minv") is not None else 0.0
        most = numbers("maxv")[0] if step.get("maxv") is not None else 1.0
        return replace(own, scaling="minmax", gain=most - least, shift=least)
    more = " over the voxels that are not zero" if step.get("nonzero") else ""
    raise Refused(
        f"the bundle prepares images by {kind or 'a step without a name'}{more}, which is not "
        "known here; say how images are prepared with flags (--scaling, --range, --spacing, "
        "--axes) and leave the transform out of configs/inference.json"
    )


def _answer(settings: Mapping[str, Any], own: Told) -> Answer:
    """Logits, or what the transforms behind the network make of one channel."""
    steps = _resolved(settings, settings.get("postprocessing", {}))
    listed = steps.get("transforms", []) if isinstance(steps, Mapping) else []
    sigmoid = any(
        isinstance(s, Mapping) and s.get("sigmoid") is True and not s.get("_disabled_")
        for s in listed
    )
    if not sigmoid:
        return "logits"
    if own.classes is not None and len(own.classes) > 1:
        raise Refused(
            f"the bundle's {len(own.classes)} classes may overlap (a sigmoid for each); models "
            "with one class for each voxel are run here"
        )
    return "sigmoid"


def _resolved(settings: Mapping[str, Any], value: Any) -> Any:
    """``@name`` and ``@name::part`` looked up, wherever they stand; nothing is evaluated."""
    return _Lookup(settings).resolved(value)


class _Lookup:
    """References among settings; they may not unfold to more than a model's settings do."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._left = _MOST_VALUES

    def resolved(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if depth > _LARGEST_DEPTH or self._left < 0:
            raise Refused("the bundle's settings refer to each other without end")
        if isinstance(value, str) and value.startswith("@"):
            found: Any = self._settings
            for part in value[1:].replace("#", "::").split("::"):
                if isinstance(found, Mapping) and part in found:
                    found = found[part]
                elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                    found = found[int(part)]
                else:
                    return value  # of no use here, or told when it is needed
            return self.resolved(found, depth + 1)
        if isinstance(value, list):
            return [self.resolved(v, depth + 1) for v in value]
        if isinstance(value, Mapping):
            return {k: self.resolved(v, depth + 1) for k, v in value.items()}
        return value


def _str(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and value.strip() else None


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
