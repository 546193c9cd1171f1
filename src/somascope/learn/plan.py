"""From a fingerprint to a plan: rules, not hyper-parameters, and for every choice its reason."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from somascope.core.errors import CorruptFile, ParameterError
from somascope.learn.fingerprint import Fingerprint
from somascope.models.prepare import Preparation

CORE = 12e9
"""Floating-point operations a second that training gets out of one core, all in all."""
GPU = 8e12
WIDTHS = (6, 8, 12, 16, 20, 24, 32, 48, 64)


@dataclass(frozen=True)
class Machine:
    """What training may use."""

    cores: int = 2
    gpu: str = ""
    memory_gb: float = 8.0

    @classmethod
    def here(cls) -> Machine:
        """The computer it runs on."""
        import torch

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        gpu = ""
        if torch.cuda.is_available():
            facts = torch.cuda.get_device_properties(0)
            gpu, memory = facts.name, facts.total_memory / 2**30
        return cls(cores, gpu, round(memory, 1))

    @property
    def speed(self) -> float:
        """Floating-point operations a second to plan with."""
        return GPU if self.gpu else CORE * self.cores


@dataclass(frozen=True)
class Plan:
    """Everything a training run decides, as plain JSON; `reasons` says why, by field."""

    task: str
    dataset: str
    classes: tuple[str, ...]
    modality: str
    preparation: Preparation
    channels: int
    dimensions: int
    patch: tuple[int, ...]
    batch: int
    stride: int
    network: Mapping[str, Any]
    loss: str
    augment: Mapping[str, Any]
    rate: float
    decay: float
    average: float
    budget_minutes: float
    most_steps: int
    seed: int
    machine: Machine
    fingerprint: Fingerprint
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> str:
        """JSON text, keys in the order they are decided."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote; a person may have changed it."""
        try:
            r: dict[str, Any] = json.loads(text)
            r["preparation"] = Preparation.from_record(r["preparation"])
            r["machine"] = Machine(**r["machine"])
            facts: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in r["fingerprint"].items()
            }
            r["fingerprint"] = Fingerprint(**facts)
            r["patch"], r["classes"] = tuple(r["patch"]), tuple(r["classes"])
            return cls(**r)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFile(f"this is no training plan ({error!r})") from error


def plan(
    facts: Fingerprint,
    machine: Machine,
    *,
    dataset: str,
    classes: tuple[str, ...],
    modality: str = "OT",
    budget_minutes: float | None = None,
    most_bytes: int = 200_000_000,
    seed: int = 0,
) -> Plan:
    """The plan for a data set on a machine; the network's weights fit into ``most_bytes``.

    Raises
    ------
    ParameterError
        A task that is not planned for these images (detection in volumes).
    """
    usual = 9.0 if machine.gpu else 30.0 if facts.task == "classify" else 90.0
    minutes = usual if budget_minutes is None else budget_minutes
    if minutes <= 0:
        raise ParameterError(f"the budget is {minutes:g} minutes; give more than 0")
    if facts.task == "detect" and facts.dimensions == 3:
        raise ParameterError("boxes are detected in pictures only, not in volumes yet")
    reasons: dict[str, str] = {}
    preparation, shape = _preparation(facts, reasons)
    patch = _patch(facts, shape, reasons)
    batch = _batch(facts, patch, machine, reasons)
    stride = 4 if facts.task == "detect" else 1
    flops = machine.speed * minutes * 60
    network = _network(facts, patch, len(classes), flops, most_bytes, reasons)
    if facts.task == "detect":
        network["biases"] = _biases(facts, preparation, len(classes), stride)
        reasons["biases"] = "it starts from few objects of the usual size, not from everything"
    most = _most_steps(facts, batch)
    reasons["most_steps"] = "as often as the data bears before it is learned by heart"
    reasons["rate"] = "AdamW with warm-up and cosine decay; 1e-3 suits every network of this family"
    reasons["average"] = "the mean of the last weights generalises better than the last"
    return Plan(
        task=facts.task, dataset=dataset, classes=classes, modality=modality,
        preparation=preparation, channels=facts.channels, dimensions=facts.dimensions, patch=patch,
        batch=batch, stride=stride, network=network, loss=_loss(facts, reasons),
        augment=_augment(facts, reasons), rate=1e-3, decay=0.05, average=0.995,
        budget_minutes=minutes, most_steps=most, seed=seed, machine=machine, fingerprint=facts,
        reasons=reasons,
    )  # fmt: skip


def _preparation(f: Fingerprint, why: dict[str, str]) -> tuple[Preparation, tuple[float, ...]]:
    how = Preparation(orient=f.dimensions == 3)
    shape = f.shape_large
    if f.task == "classify":
        most = 64 if f.dimensions == 3 else 128
        longest = max(f.shape_median)
        factor = min(1.0, most / longest)
        size = tuple(max(round(n * factor / 4) * 4, 1) if n > 1 else 1 for n in f.shape_median)
        if f.same_shape and longest <= most:
            size = tuple(int(n) for n in f.shape_median)
        how, shape = replace(how, size=size), size
        why["size"] = f"whole images of one size; more than {most} costs more than it tells here"
    elif f.pictures and f.task == "detect":
        factor = min(max(12.0 / max(f.box_small, 1.0), 0.5), 1.0)
        longest = max(f.shape_median)
        how = replace(how, longest=int(min(longest * factor, 512)))
        factor = how.longest / longest
        shape = tuple(n * factor if n > 1 else 1 for n in shape)
        why["longest"] = (
            "so small that the smallest boxes still have twelve pixels or half their size"
        )
    elif f.pictures:
        longest = max(f.shape_median)
        how = replace(how, longest=int(min(longest, 1024)))
        why["longest"] = "pictures do not say how large a pixel is: the frame is the measure"
    else:
        spacing = tuple(round(s, 4) for s in f.spacing_median)
        how = replace(how, spacing=spacing)
        shape = tuple(n * a / b for n, a, b in zip(shape, f.spacing_median, spacing, strict=True))
        why["spacing"] = "the median voxel of the data set"
    if f.levels <= 4:
        how = replace(how, scaling="range", low=0.0, high=max(f.value_high, 1.0))
        why["scaling"] = f"at most {f.levels} values: shapes, not shades"
    elif f.channels == 3 or (f.pictures and f.value_spread < 1.2):
        how = replace(how, scaling="range", low=0.0, high=255.0 if f.value_high <= 255 else
                      f.value_high)  # fmt: skip
        why["scaling"] = "colours and fixed scales mean something: one range for all"
    elif f.value_low < -500:
        how = replace(how, scaling="range", low=-1000.0, high=max(f.value_high, 400.0))
        why["scaling"] = "Hounsfield units: one range for all"
    elif f.pictures:
        how = replace(how, scaling="zscore")
        why["scaling"] = "exposure differs from picture to picture: each by its own mean"
    else:
        how = replace(how, scaling="percentile")
        why["scaling"] = f"values differ {f.value_spread:.0f}-fold between cases: each by its own"
    return how, shape


def _patch(f: Fingerprint, shape: tuple[float, ...], why: dict[str, str]) -> tuple[int, ...]:
    axes = shape[3 - f.dimensions :]
    if f.task == "classify":
        why["patch"] = "the whole image"
        return tuple(int(n) for n in axes)
    multiple = 32 if f.task == "detect" else (16 if f.dimensions == 2 else 8)
    most = {2: 256, 3: 64}[f.dimensions]
    if f.task == "detect":
        most = 10_000
    if f.task == "segment" and f.dimensions == 2 and max(axes) > 384:
        most = 160
    patch = tuple(
        min(math.ceil(n / multiple) * multiple, max(most // multiple, 1) * multiple) for n in axes
    )
    why["patch"] = (
        f"covers 95 % of the cases, in multiples of {multiple}"
        if all(p >= n for p, n in zip(patch, axes, strict=True))
        else "parts of the image: the whole would be few steps of much work"
    )
    return patch


def _batch(f: Fingerprint, patch: tuple[int, ...], machine: Machine, why: dict[str, str]) -> int:
    room = 2**22 if machine.gpu else 2**18 + 2**16
    wanted = {"classify": 64 if f.dimensions == 2 else 16, "segment": 8 if f.dimensions == 2 else 2,
              "detect": 8, "register": 1}[f.task]  # fmt: skip
    least = {"classify": 16 if f.dimensions == 2 else 8, "detect": 4}.get(f.task, 2)
    least = 1 if f.task == "register" else least
    batch = max(min(wanted, room // max(math.prod(patch), 1)), least)
    batch = min(batch * (2 if machine.gpu else 1), max(f.cases // 4, 1))
    why["batch"] = "as many as steps stay short on this machine"
    return batch


def _biases(f: Fingerprint, how: Preparation, classes: int, stride: int) -> list[float]:
    """A centre in a hundred cells, sides as usual, no offset."""
    factor = how.longest / max(f.shape_median) if how.longest else 1.0
    side = math.log2(max(f.box_median * factor / stride, 1.0))
    return [-4.6] * classes + [side, side, 0.0, 0.0]


def _samples(f: Fingerprint) -> float:
    """Examples that should be seen at the least."""
    if f.task == "classify":
        return max(15 * f.cases, 15_000) if f.dimensions == 2 else max(20 * f.cases, 6_000)
    if f.task == "segment":
        return max(30 * f.cases, 4_000)
    return max(40 * f.cases, 6_000) if f.task == "detect" else max(30 * f.cases, 2_000)


def _most_steps(f: Fingerprint, batch: int) -> int:
    return int(_samples(f) * (6 if f.task in ("segment", "register") else 4) / batch)


def _network(
    f: Fingerprint,
    patch: tuple[int, ...],
    classes: int,
    flops: float,
    most_bytes: int,
    why: dict[str, str],
) -> dict[str, Any]:
    from somascope.learn.networks import build
    from somascope.learn.networks.blocks import multiplications, parameters

    best: dict[str, Any] = {}
    widest = WIDTHS[-1] if f.cases >= 1000 else 32
    for width in WIDTHS:
        described = _described(f, patch, classes, width)
        network = build(described)
        size = 4 * parameters(network)
        shapes = [(1, f.channels, *patch)] * (2 if f.task == "register" else 1)
        cost = 6.0 * multiplications(network, *shapes) * _samples(f)
        if best and (cost > flops or size > most_bytes or width > widest):
            break
        best = described
        why["network"] = (
            f"the widest ({width}) whose training on {_samples(f):.0f} examples fits the budget "
            f"({cost:.2g} of {flops:.2g} operations), whose weights fit the file ({size / 1e6:.1f} "
            f"of {most_bytes / 1e6:.0f} MB), and that {f.cases} cases can feed (at most {widest})"
        )
    return best


def _described(f: Fingerprint, patch: tuple[int, ...], classes: int, width: int) -> dict[str, Any]:
    if f.task == "classify":
        stages = min(max(int(math.log2(max(min(patch), 8) / 7)) + 1, 2), 4)
        stem = 2 if max(patch) >= 48 else 1
        return {
            "kind": "resnet", "inputs": f.channels, "outputs": classes,
            "dimensions": f.dimensions, "blocks": 2 if f.dimensions == 2 else 1, "stem": stem,
            "widths": [min(width * 2**i, 256) for i in range(stages)],
        }  # fmt: skip
    most = 5 if f.dimensions == 2 else 4
    levels = 1
    while levels < most and all(n % 2**levels == 0 and n // 2**levels >= 3 for n in patch):
        levels += 1
    widths = [min(width * 2**i, 256) for i in range(levels)]
    if f.task == "register":
        return {"kind": "voxelmorph", "dimensions": f.dimensions, "widths": [
            min(w, 2 * width) for w in widths]}  # fmt: skip
    if f.task == "detect":
        return {
            "kind": "unet", "inputs": f.channels, "outputs": classes + 4, "dimensions": 2,
            "widths": widths, "norm": "batch", "finest": 2, "residual": True,
        }  # fmt: skip
    return {
        "kind": "unet", "inputs": f.channels, "outputs": classes + 1, "dimensions": f.dimensions,
        "widths": widths, "norm": "instance",
    }  # fmt: skip


def _loss(f: Fingerprint, why: dict[str, str]) -> str:
    loss, reason = {
        "classify": (
            "balanced cross-entropy",
            "every class counts the same: nobody knows how frequent each is where it is used",
        ),
        "segment": (
            "dice + cross-entropy",
            "Dice for small structures, cross-entropy for steady gradients",
        ),
        "detect": (
            "focal + l1",
            "focal loss on the centres, as most pixels are none; distances for the sides",
        ),
        "register": (
            "ncc + smoothness + dice",
            "local correlation is blind to scanner gain; smoothness keeps the map a map",
        ),
    }[f.task]
    why["loss"] = reason
    return loss


def _augment(f: Fingerprint, why: dict[str, str]) -> dict[str, Any]:
    medical = f.task != "detect"
    chosen: dict[str, Any] = {
        "rotate": 15.0 if f.dimensions == 2 else 12.0, "scale": 0.15, "shift": 0.08,
        "shear": 0.05, "bend": 0.0, "flip": [], "contrast": 0.25, "brightness": 0.15,
        "gamma": 0.25, "noise": 0.05, "blur": 0.15,
    }  # fmt: skip
    why["augment"] = (
        "what another patient and another scanner would change; nothing is mirrored: left is left"
    )
    if f.task == "segment":
        chosen |= {"bend": 0.02, "rotate": 20.0, "scale": 0.2}
    if f.channels == 3 and f.dimensions == 2 and f.pictures:
        chosen |= {"flip": [0, 1]}
        why["augment"] = (
            "colour pictures (fundus, microscope) have no up that matters: mirrored too"
        )
    if not medical:
        chosen |= {"rotate": 0.0, "shear": 0.0, "scale": 0.25, "shift": 0.2}
    if f.task == "register":
        chosen |= {"rotate": 8.0, "scale": 0.1, "shift": 0.05, "shear": 0.0}
    return chosen
