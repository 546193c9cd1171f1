"""From a fingerprint to a plan: rules, not hyper-parameters, and for every choice its reason."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from somascope.core.errors import CorruptFile, ParameterError
from somascope.learn import objects
from somascope.learn.design import THICK, designed, examples, most_steps, parts, sided
from somascope.learn.fingerprint import Fingerprint
from somascope.models.prepare import Preparation
from somascope.models.single import Single
from somascope.process.chunks import cores

CORE = 35e9
"""Floating-point operations a second that training gets out of one core, all in all."""
GPU = 8e12
WHOLE = 6e9
"""Operations to learn from one volume of 64 voxels a side."""
AROUND = 1.6
"""Times that the crop around an object is as long as the object, and at least as the usual one."""
FEW = 30
"""Patients below which one is unlike the next."""
MANY = 150
"""Patients from which most of what differs is seen."""


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

        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        gpu = ""
        if torch.cuda.is_available():
            facts = torch.cuda.get_device_properties(0)
            gpu, memory = facts.name, facts.total_memory / 2**30
        return cls(cores(), gpu, round(memory, 1))

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
    single: Single | None = None

    @property
    def inputs(self) -> int:
        """Channels of what the network is given."""
        return self.channels if self.single is None else 2 * self.channels + 1

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
            r["single"] = Single.from_record(r["single"]) if r.get("single") else None
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
        A budget of no time, or objects to detect without a size.
    """
    usual = 9.0 if machine.gpu else 30.0 if facts.task == "classify" else 90.0
    minutes = usual if budget_minutes is None else budget_minutes
    if minutes <= 0:
        raise ParameterError(f"the budget is {minutes:g} minutes; give more than 0")
    if facts.task == "detect" and not facts.box_small > 0:
        raise ParameterError(f"{dataset} has no boxes to learn from, or some of no size")
    reasons: dict[str, str] = {}
    flops = machine.speed * minutes * 60
    preparation, shape = _preparation(facts, modality, flops, reasons)
    solid = facts.task == "detect" and facts.dimensions == 3
    look = objects.patch(facts, preparation, shape, reasons) if solid else None
    patch = look or _patch(facts, shape, reasons)
    batch = _batch(facts, patch, machine, reasons)
    stride = objects.STRIDE[facts.dimensions] if facts.task == "detect" else 1
    network = designed(facts, patch, len(classes), flops, most_bytes, reasons)
    if facts.task == "detect":
        network["biases"] = objects.biases(facts, preparation, len(classes))
        reasons["biases"] = "it starts from few objects of the usual size, not from everything"
    most = most_steps(facts, patch, batch)
    reasons["most_steps"] = "as often as the data bears before it is learned by heart"
    fast = 1e-3 if facts.task == "register" else 2e-3
    reasons["rate"] = (
        "AdamW with warm-up and cosine decay; long steps, as the budget ends before they could "
        "harm, but for displacements, which may fold"
    )
    reasons["average"] = "the mean of the last weights generalises better than the last"
    return Plan(
        task=facts.task, dataset=dataset, classes=classes, modality=modality,
        preparation=preparation, channels=facts.channels, dimensions=facts.dimensions, patch=patch,
        batch=batch, stride=stride, network=network, loss=_loss(facts, reasons),
        augment=_augment(facts, classes, reasons), rate=fast, decay=0.05, average=0.995,
        budget_minutes=minutes, most_steps=most, seed=seed, machine=machine, fingerprint=facts,
        reasons=reasons, single=_single(facts, reasons),
    )  # fmt: skip


def _single(f: Fingerprint, why: dict[str, str]) -> Single | None:
    if not f.single:
        return None
    unit = "pixels" if f.pictures else "mm"
    why["single"] = (
        f"each object in a crop {AROUND:g} times as long as it is and at least as the usual one "
        f"({f.single:.3g} {unit}): smaller ones are seen at one scale, which shows how large they "
        "are; beside it the whole image, the object marked in it"
    )
    return Single(AROUND, round(AROUND * f.single, 3))


def _preparation(
    f: Fingerprint, modality: str, flops: float, why: dict[str, str]
) -> tuple[Preparation, tuple[float, ...]]:
    how = Preparation(orient=f.dimensions == 3)
    # A volume to segment is seen in parts of the usual size; of the largest much would be empty.
    shape = f.shape_median if f.task == "segment" and f.dimensions == 3 else f.shape_large
    if f.task == "classify":
        most = 128
        if f.dimensions == 3:
            most = 64 if flops > WHOLE * examples(f, (64, 64, 64)) else 32
        longest = max(f.shape_median)
        factor = min(1.0, most / longest)
        size = tuple(max(round(n * factor / 4) * 4, 1) if n > 1 else 1 for n in f.shape_median)
        if f.same_shape and longest <= most:
            size = tuple(int(n) for n in f.shape_median)
        if f.single:
            size = _crop(f, flops)
            why["size"] = (
                f"of the crop and the whole image alike; {max(size)} show the usual object"
            )
        how, shape = replace(how, size=size), size
        why.setdefault(
            "size", f"whole images of one size; more than {most} costs more than it tells here"
        )
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
    elif f.task == "detect" and f.dimensions == 3:
        how = replace(how, spacing=objects.spacing(f, why))
        edges = zip(f.shape_large, f.spacing_median, how.spacing, strict=True)
        shape = tuple(n * a / b for n, a, b in edges)
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
    elif f.value_low < -500 and modality in ("CT", "OT"):
        how = replace(how, scaling="range", low=-1000.0, high=max(f.value_high, 400.0))
        why["scaling"] = "Hounsfield units: one range for all"
    elif f.pictures:
        how = replace(how, scaling="zscore")
        why["scaling"] = "exposure differs from picture to picture: each by its own mean"
    else:
        how = replace(how, scaling="percentile")
        why["scaling"] = f"values differ {f.value_spread:.0f}-fold between cases: each by its own"
    return how, shape


def _crop(f: Fingerprint, flops: float) -> tuple[int, ...]:
    """The shape of a crop that shows the usual object as finely as the image does, in bounds."""
    volume = f.dimensions == 3
    edge = AROUND * f.single / min(f.spacing_median[3 - f.dimensions :])
    fine = flops > 2 * WHOLE * examples(f, (48, 48, 48))
    least, most = (16, 48 if fine else 32) if volume else (32, 96)
    n = min(max(math.ceil(edge / 8) * 8, least), most)
    return (n if volume else 1, n, n)


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
        most = 96 if f.thin < THICK[2] else 160
    round_ = round if f.task == "segment" and f.dimensions == 3 else math.ceil
    patch = tuple(
        min(max(round_(n / multiple), 1) * multiple, max(most // multiple, 1) * multiple)
        for n in axes
    )
    why["patch"] = (
        f"covers the usual case, in multiples of {multiple}"
        if all(p >= n - multiple / 2 for p, n in zip(patch, axes, strict=True))
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
    batch = min(batch * (2 if machine.gpu else 1), max(int(f.cases * parts(f, patch)) // 4, 1))
    why["batch"] = "as many as steps stay short on this machine"
    return batch


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


def _augment(f: Fingerprint, classes: tuple[str, ...], why: dict[str, str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "rotate": 15.0 if f.dimensions == 2 else 12.0, "scale": 0.15, "shift": 0.08,
        "shear": 0.05, "bend": 0.0, "flip": [], "contrast": 0.25, "brightness": 0.15,
        "gamma": 0.25, "noise": 0.05, "blur": 0.15,
    }  # fmt: skip
    reasons = ["what another patient and another scanner would change"]
    if f.task == "segment":
        chosen |= {"bend": 0.02, "rotate": 20.0, "scale": 0.2}
    if f.patients < FEW and f.task in ("segment", "classify"):
        chosen |= {"rotate": 30.0, "scale": 0.25, "contrast": 0.4, "brightness": 0.25,
                   "gamma": 0.4}  # fmt: skip
        reasons.append(f"{f.patients} patients tell little of others: more of it")
        if f.pictures and f.channels == 1:
            chosen |= {"rotate": 90.0, "shade": 0.3}
            reasons.append("nor do their pictures say which way is up, or where the coil was")
    elif f.patients >= MANY and f.task == "segment":
        chosen |= {"rotate": 14.0, "scale": 0.14, "contrast": 0.18, "brightness": 0.1,
                   "gamma": 0.18, "noise": 0.03, "blur": 0.1}  # fmt: skip
        reasons.append(f"{f.patients} patients show most of it themselves: less of it")
    if f.levels <= 4:
        chosen |= {"scale": 0.05, "contrast": 0.0, "brightness": 0.0, "gamma": 0.0, "noise": 0.0}
        reasons.append("shapes have no shades, and their size tells")
    told = (f.task in ("classify", "segment") or f.dimensions == 3) and sided(classes)
    if f.channels == 3 and f.dimensions == 2 and f.pictures and not told:
        chosen |= {"flip": [0, 1]}
        reasons.append("colour pictures (fundus, microscope) have no up that matters: mirrored")
    elif f.dimensions == 3 and f.task in ("classify", "segment", "detect") and not told:
        chosen |= {"flip": [2]}
        reasons.append("no class is one of a side: left and right are mirrored, labels with them")
    else:
        reasons.append("nothing is mirrored: left is left")
    if f.task == "detect":
        chosen |= {"rotate": 0.0, "shear": 0.0, "scale": 0.25, "shift": 0.2}
    if f.task == "register":
        chosen |= {"rotate": 8.0, "scale": 0.1, "shift": 0.05, "shear": 0.0}
    why["augment"] = "; ".join(reasons)
    return chosen
