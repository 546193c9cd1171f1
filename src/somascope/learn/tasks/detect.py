"""Learning to detect: a map of centres, and the sides of what is there (CenterNet), 2-D and 3-D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Array, Float
from somascope.learn.augment import Draw, draw, lattice, recoloured, sampled
from somascope.learn.metrics.boxes import Hits, average_precision, hits, merged, operating, platt
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle, shuffled, spread, stacked
from somascope.models.card import NetworkCard
from somascope.models.detect import SAME, calibrated, peaks, streamed, suppressed

LEAST = 0.05
CHECKED = 24
"""Volumes that are looked through at each validation."""
ENOUGH = 5
"""Right and wrong finds each, from which scores are calibrated."""
RIGHT = {2: 0.5, 3: 0.1}
"""Overlap with a true box from which a find counts as right when its score is calibrated."""
AROUND = 0.7
"""Of the patches of volumes: around an object. Most of a volume is empty, and looks alike."""


class Detect:
    """Focal loss on the centres (Law and Deng, 2018), distances for sides and offsets."""

    def __init__(self, plan: Plan, samples: Sequence[Sample]) -> None:
        self.plan = plan
        assert all(s.boxes is not None for s in samples)

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Any, none twice."""
        return shuffled(len(samples), self.plan.batch, rng)

    def _centre(self, s: Sample, one: Draw, rng: np.random.Generator) -> list[float]:
        """Of the patch in the image: of a picture its own; of a volume some place, often such that
        an object lies in the patch.
        """
        shape, patch = s.image.shape[1:], self.plan.patch
        if len(patch) == 2:
            return middle(shape)
        assert s.boxes is not None
        d = len(patch)
        if len(s.boxes) and rng.random() < AROUND:
            box = s.boxes[int(rng.integers(len(s.boxes)))]
            there = (box[:d] + box[d : 2 * d]) / 2 - 0.5
            # The object anywhere in the inner part of the patch, whatever is drawn beside.
            room = [0.35 * p for p in patch]
            centre = [float(c + rng.uniform(-r, r)) for c, r in zip(there, room, strict=True)]
        else:
            centre = [float(rng.uniform(0, n - 1)) for n in shape]
        kept = [
            min(max(c, (p - 1) / 2), n - 1 - (p - 1) / 2) if n > p else m
            for c, p, n, m in zip(centre, patch, shape, middle(shape), strict=True)
        ]
        return [k - float(v) * p for k, v, p in zip(kept, one.shift, patch, strict=True)]

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``image``, the ``heat`` to be learned, and ``size``, ``offset``, ``there`` in cells."""
        patch, stride = self.plan.patch, self.plan.stride
        d = len(patch)
        parts: list[dict[str, torch.Tensor]] = []
        for s in samples:
            assert s.boxes is not None
            one = draw(self.plan.augment, rng, dimensions=d)
            shape = s.image.shape[1:]
            centre = self._centre(s, one, rng)
            grid = lattice(one, centre=centre, shape=shape, patch=patch)
            image = recoloured(sampled(s.image, grid), one)
            where = np.asarray(centre) + one.shift * np.asarray(patch)
            inverse: Float = np.asarray(np.linalg.inv(one.matrix), np.float64)
            boxes = moved(s.boxes, inverse, where=where, patch=patch)
            parts.append({"image": image, **targets(boxes, len(self.plan.classes), patch, stride)})
        return stacked(parts)

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Focal plus a tenth of the distances of log2 sides plus the distances of offsets."""
        out = network(batch["image"]).float()
        k, d = len(self.plan.classes), len(self.plan.patch)
        there = batch["there"][:, None]
        number = there.sum().clamp_min(1)
        loss = focal(out[:, :k], batch["heat"]) / number
        sides = (functional.smooth_l1_loss(out[:, k : k + d], batch["size"], reduction="none",
                                           beta=0.1) * there).sum() / number  # fmt: skip
        offset = (functional.l1_loss(out[:, k + d :], batch["offset"], reduction="none")
                  * there).sum() / number  # fmt: skip
        return loss + sides + 0.5 * offset

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """Mean average precision at an overlap of one half; of volumes the mean with that at a
        tenth, which moves long before: a box off by a sixth along every axis overlaps by a half.
        """
        d = len(self.plan.patch)
        some = spread(samples, CHECKED) if d == 3 else samples
        found = [detected(network, s, self.plan) for s in some]
        truth = [s.boxes if s.boxes is not None else np.zeros((0, 2 * d + 1)) for s in some]
        result: dict[str, float] = {}
        means: list[float] = []
        for name, least in (("ap50", 0.5), ("ap10", 0.1))[: d - 1]:
            each = [average_precision(found, truth, kind=k, least=least)
                    for k in range(len(self.plan.classes))]  # fmt: skip
            known = [v for v in each if math.isfinite(v)]
            means.append(float(np.mean(known)) if known else 0.0)
            result |= {f"{name} {n}": v for n, v in zip(self.plan.classes, each, strict=True)}
        return {"score": float(np.mean(means))} | result


def moved(boxes: Float, inverse: Float, *, where: Float, patch: Sequence[int]) -> Float:
    """Boxes of an image ``(n, 2 d + 1)`` as they lie in a patch whose middle is ``where``."""
    d = len(patch)
    half = (np.asarray(patch) - 1) / 2
    ends: list[Float] = []
    for sides in product((0, 1), repeat=d):
        corner = boxes[:, [axis + d * side for axis, side in enumerate(sides)]]
        ends.append(((corner - 0.5 - where) @ inverse.T) + half + 0.5)
    every = np.stack(ends)
    return np.column_stack([every.min(axis=0), every.max(axis=0), boxes[:, 2 * d]])


def detected(network: torch.nn.Module, s: Sample, plan: Plan) -> Float:
    """Rows of corners, class, score in pixels of the prepared picture or volume."""
    device = next(network.parameters()).device
    d, classes = len(plan.patch), len(plan.classes)
    network.eval()

    def run(part: Array) -> Array:
        given = torch.from_numpy(np.ascontiguousarray(part))[None]
        with torch.inference_mode():
            return network(given.to(device)).float()[0].cpu().numpy()

    if d == 2:
        pads = [(-n) % (8 * plan.stride) for n in s.image.shape[1:]]
        image = functional.pad(s.image[None], (0, pads[1], 0, pads[0]), mode="replicate")[0]
        corners, score, kind = peaks(
            run(image.numpy()), classes=classes, stride=plan.stride, threshold=LEAST
        )
    else:
        room = [max(p - n, (-n) % plan.stride)
                for n, p in zip(s.image.shape[1:], plan.patch, strict=True)]  # fmt: skip
        before = [r // 2 for r in room]
        widths = [(0, 0), *((b, r - b) for b, r in zip(before, room, strict=True))]
        corners, score, kind = streamed(
            np.pad(s.image.numpy(), widths, mode="edge"), run, classes=classes, tile=plan.patch,
            stride=plan.stride, overlapping=0.25, threshold=LEAST,
        )  # fmt: skip
        corners = corners - np.asarray([*before, *before])
    keep = suppressed(corners, score, kind, most=SAME[d])
    return np.column_stack([corners[keep], kind[keep], score[keep]])


def assured(
    card: NetworkCard, network: torch.nn.Module, held: Sequence[Sample], plan: Plan
) -> NetworkCard:
    """The card with scores that are frequencies of being right, and the threshold of the best F1.

    As validation cases say; where they hold too few right or wrong finds the card stays as it is.
    """
    d, classes = len(plan.patch), range(len(plan.classes))
    none = np.zeros((0, 2 * d + 1))
    pairs = [(detected(network, s, plan), none if s.boxes is None else s.boxes) for s in held]
    every = merged([hits(f, t, kind=k, least=RIGHT[d]) for k in classes for f, t in pairs])
    if min(every.right.sum(), (~every.right).sum()) < ENOUGH:
        return card
    temperature, offset = platt(every.score, every.right)
    offsets = (offset,) * len(classes)
    kind = np.zeros(len(every.score), np.int64)
    sure = calibrated(every.score, kind, temperature=temperature, offsets=offsets)
    threshold = operating(Hits(every.right, sure, every.total))
    return replace(card, temperature=temperature, offsets=offsets, threshold=threshold)


def targets(
    boxes: Float, classes: int, patch: Sequence[int], stride: int
) -> dict[str, torch.Tensor]:
    """What the maps should be for boxes ``(n, 2 d + 1)`` in pixels of the patch."""
    d = len(patch)
    cells = tuple(n // stride for n in patch)
    heat = np.zeros((classes, *cells), np.float32)
    size = np.zeros((d, *cells), np.float32)
    offset = np.zeros((d, *cells), np.float32)
    there = np.zeros(cells, np.float32)
    axes = [np.arange(n, dtype=np.float32) for n in cells]
    # The small ones last: where two share a cell the smaller is kept.
    large = np.argsort(-np.prod(boxes[:, d : 2 * d] - boxes[:, :d], axis=1), kind="stable")
    for row in boxes[large]:
        centre = (row[:d] + row[d : 2 * d]) / 2 / stride
        at = np.floor(centre).astype(int)
        if not bool(((centre >= 0) & (at < cells)).all()):
            continue
        k, sides = int(row[2 * d]), np.maximum(row[d : 2 * d] - row[:d], 1.0) / stride
        wide = np.maximum(sides / 8, 0.4)
        bump = np.ones((1,) * d, np.float32)
        for axis, (x, c, w) in enumerate(zip(axes, at, wide, strict=True)):
            shape = [1] * d
            shape[axis] = len(x)
            bump = bump * np.exp(-0.5 * ((x - c) / w) ** 2).reshape(shape)
        heat[k] = np.maximum(heat[k], np.where(bump > 0.01, bump, 0.0))
        heat[(k, *at)] = 1.0
        # Neighbours of the centre learn the sides too: more to learn from, and steadier peaks.
        for step in product((-1, 0, 1), repeat=d):
            near = tuple((at + step).tolist())
            own = not any(step)
            if not all(0 <= i < n for i, n in zip(near, cells, strict=True)):
                continue
            if not own and (there[near] == 1.0 or sides.min() < 4):
                continue
            there[near] = 1.0 if own else 0.5
            size[(slice(None), *near)] = np.log2(sides)
            offset[(slice(None), *near)] = centre - near - 0.5
    named = {"heat": heat, "size": size, "offset": offset, "there": there}
    return {n: torch.from_numpy(v) for n, v in named.items()}


def focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Penalty-reduced focal loss (alpha 2, beta 4), summed; ``heat`` is 1 at centres."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (heat == 1).float()
    yes = (1 - p) ** 2 * p.log() * centre
    no = p**2 * (1 - p).log() * (1 - heat) ** 4 * (1 - centre)
    return -(yes + no).sum()
