"""Cases of the training set that look most alike to the network: "it said so of these too".

What is kept in the model is, for some cases of each class, what the network's deepest layer made of
them (its mean over space, half precision), the case's name and the class it has in truth. From that
no picture can be drawn again; small pictures are kept only on wish, because they show patients.

After Caruana et al., AMIA 1999, and Papernot and McDaniel, 2018 (nearest neighbours in the deepest
layer).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from somascope.core import Image
from somascope.core.errors import CorruptFile, NotFound, ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.explain.target import deepest, input_of, is_sequence, opened
from somascope.learn.tasks.sample import Sample
from somascope.models import installed, package
from somascope.models.package import PROTOTYPES

KEPT = 200
"""Cases of a model, spread over the classes and the data set."""
WHOLE = 40
"""Of a model that looks at images of any size: each is looked at whole."""
MOST = {2: 1024, 3: 128}
"""Pixels or voxels along an edge that are looked at of such images, in their middle: the whole of a
large volume would not fit the memory that its training fits."""
EDGE = 48
"""Pixels of the longer side of a small picture."""


@dataclass(frozen=True)
class Prototypes:
    """``features`` ``(n, d)`` of ``names``; ``classes`` are class numbers, -1 where a case has
    none; ``pictures`` ``(n, EDGE, EDGE)`` uint8, or empty.
    """

    features: Float
    names: tuple[str, ...]
    classes: tuple[int, ...]
    pictures: Array

    def to_bytes(self) -> bytes:
        """As safetensors: plain arrays and text."""
        from safetensors.numpy import save

        arrays = {"features": self.features.astype(np.float16),
                  "classes": np.asarray(self.classes, np.int32)}  # fmt: skip
        if len(self.pictures):
            arrays["pictures"] = np.ascontiguousarray(self.pictures, np.uint8)
        return save(arrays, metadata={"names": json.dumps(list(self.names))})

    @classmethod
    def from_bytes(cls, data: bytes) -> Prototypes:
        """Read what `to_bytes` wrote.

        Raises
        ------
        CorruptFile
            Something else, or arrays that do not belong together.
        """
        from safetensors.numpy import load

        try:
            arrays = load(data)
            size = int.from_bytes(data[:8], "little")
            header: dict[str, Any] = json.loads(data[8 : 8 + size])
            names = tuple(map(str, json.loads(header["__metadata__"]["names"])))
            features = arrays["features"].astype(np.float64)
            classes = tuple(int(k) for k in arrays["classes"])
            pictures = arrays.get("pictures", np.zeros((0, EDGE, EDGE), np.uint8))
            sizes = {len(names), len(classes), len(features)}
            fits = features.ndim == 2 and pictures.shape[1:] == (EDGE, EDGE) and len(sizes) == 1
            if not fits or len(pictures) not in (0, len(names)):
                raise ValueError("arrays of different lengths")
        except Exception as error:
            raise CorruptFile(f"{PROTOTYPES} cannot be read ({error})") from error
        return cls(features, names, classes, pictures)


@dataclass(frozen=True)
class Alike:
    """A training case, its class by name, and how alike it is: cosine, 1 the same direction."""

    name: str
    kind: str
    likeness: float
    picture: Array | None


def pooled(network: nn.Module, *inputs: torch.Tensor) -> Float:
    """What the deepest layer says, its mean over space: ``(n, d)`` of inputs ``(n, c, ...)``."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _given: object, out: torch.Tensor) -> None:
        kept.append(out)

    handle = deepest(network).register_forward_hook(keep)
    try:
        with torch.inference_mode():
            network.eval()(*inputs)
    finally:
        handle.remove()
    means = kept[0].flatten(2).mean(dim=2).float().cpu()
    if is_sequence(network):  # a batch of slices: the mean of each example's
        means = means.reshape(len(inputs[0]), -1, means.shape[1]).mean(dim=1)
    return means.numpy().astype(np.float64)


def chosen(samples: Sequence[Sample], *, most: int = KEPT) -> list[int]:
    """Which cases are kept: as many of each class where that goes, spread over the data set."""
    kinds = sorted({s.label for s in samples})
    some: list[int] = []
    for k in kinds:
        mine = [i for i, s in enumerate(samples) if s.label == k]
        count = min(len(mine), max(most // len(kinds), 1))
        some += [mine[i] for i in np.linspace(0, len(mine) - 1, count, dtype=int)]
    return sorted(some)[:most]


def prototypes(
    network: nn.Module, samples: Sequence[Sample], *, pictures: bool = False, channels: int = 3
) -> Prototypes:
    """The prototypes of a trained network among its training samples; pictures are of the first
    ``channels``.
    """
    if not samples:
        raise ParameterError("no cases to choose prototypes from; give some")
    features: list[Float] = []
    shown: list[Array] = []
    most = KEPT if samples[0].label >= 0 else WHOLE
    some = [samples[i] for i in chosen(samples, most=most)]
    for s in some:
        whole = [s.image[None]] if s.moving is None else _together(s.image, s.moving)
        if s.label < 0:  # images of any size
            whole = [_middle(w) for w in whole]
        if s.label < 0 and s.moving is None:
            whole = [_whole(w[0], w.shape[2:])[None] for w in whole]
        features.append(pooled(network, *whole)[0])
        if pictures:
            shown.append(small(s.image[:channels].numpy()))
    kept = np.stack(shown) if pictures else np.zeros((0, EDGE, EDGE), np.uint8)
    return Prototypes(
        np.stack(features), tuple(s.id for s in some), tuple(s.label for s in some), kept
    )


def _together(fixed: torch.Tensor, moving: torch.Tensor) -> list[torch.Tensor]:
    """Both of one size."""
    shape = [max(a, b) for a, b in zip(fixed.shape[1:], moving.shape[1:], strict=True)]
    return [_whole(image, shape)[None] for image in (fixed, moving)]


def _whole(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """In a space of ``shape`` whose edges halve as a network does; beyond the image its border."""
    step = 32 if len(shape) == 2 else 16
    sizes = [-(-n // step) * step for n in shape]
    pads = [p for n, m in zip(image.shape[:0:-1], sizes[::-1], strict=True) for p in (0, m - n)]
    return nn.functional.pad(image[None], pads, mode="replicate")[0]


def _middle(x: torch.Tensor) -> torch.Tensor:
    """The middle of ``(n, c, ...)``, no edge longer than `MOST`."""
    for axis, n in enumerate(x.shape[2:], 2):
        part = min(n, MOST[x.ndim - 2])
        x = x.narrow(axis, (n - part) // 2, part)
    return x


def small(image: Array) -> Array:
    """The middle slice of ``(c, ...)`` as ``(EDGE, EDGE)`` uint8, from its dark to its bright."""
    plane = image.mean(axis=0)
    while plane.ndim > 2:
        plane = plane[len(plane) // 2]
    low, high = np.percentile(plane, (0.5, 99.5))
    gray = np.clip((plane - low) / max(float(high - low), 1e-9), 0, 1) * 255
    from PIL import Image as Pillow

    one = Pillow.fromarray(gray.astype(np.uint8))
    one.thumbnail((EDGE, EDGE))
    result = np.zeros((EDGE, EDGE), np.uint8)
    y, x = (EDGE - one.height) // 2, (EDGE - one.width) // 2
    result[y : y + one.height, x : x + one.width] = np.asarray(one)
    return result


def nearest(
    model: str | Path, *images: Image, box: Sequence[float] | Float | None = None, count: int = 5
) -> list[Alike]:
    """The training cases that look most alike to the model, the most alike first.

    Raises
    ------
    NotFound
        The model was kept without prototypes (or without weights).
    """
    path = Path(model)
    packed = package.read(path if path.exists() else installed.models().get(str(model), path))
    if PROTOTYPES not in packed.extras:
        raise NotFound(f"{model} was kept without its {PROTOTYPES}; train it again to have them")
    kept = Prototypes.from_bytes(packed.extras[PROTOTYPES])
    card, _, network = opened(model)
    images = tuple(card.declared(i) for i in images)
    x, _ = input_of(card, images, box=box)
    parts = (x[:, :1], x[:, 1:]) if card.task == "register" else (x,)
    if card.task != "classify":
        parts = tuple(_middle(p) for p in parts)
    mine = pooled(network, *parts)[0]
    if mine.shape != kept.features.shape[1:]:
        raise CorruptFile(
            f"{model}: prototypes have {kept.features.shape[1]} numbers each and the network "
            f"{len(mine)}; they do not belong together"
        )
    # Directions from the middle of all: what every image has in common says nothing.
    middle = kept.features.mean(axis=0)
    theirs = kept.features - middle
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(mine - middle)
    cosine = theirs @ (mine - middle) / np.maximum(lengths, 1e-12)
    names = [c.name for c in card.classes]
    return [
        Alike(
            kept.names[i], names[kept.classes[i]] if 0 <= kept.classes[i] < len(names) else "",
            float(cosine[i]), kept.pictures[i] if len(kept.pictures) else None,
        )
        for i in np.argsort(-cosine, kind="stable")[:count]
    ]  # fmt: skip
