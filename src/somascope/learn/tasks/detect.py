"""Learning to detect: a map of centres, and the sides of what is there (CenterNet)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Float
from somascope.learn.augment import draw, lattice, recoloured, sampled
from somascope.learn.metrics.boxes import average_precision
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle, shuffled, stacked
from somascope.models.detect import peaks, suppressed

LEAST = 0.05


class Detect:
    """Focal loss on the centres (Law and Deng, 2018), distances for sides and offsets."""

    def __init__(self, plan: Plan, samples: Sequence[Sample]) -> None:
        self.plan = plan
        assert all(s.boxes is not None for s in samples)

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Any, none twice."""
        return shuffled(len(samples), self.plan.batch, rng)

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``image``, the ``heat`` to be learned, and ``size``, ``offset``, ``there`` in cells."""
        patch, stride = self.plan.patch, self.plan.stride
        parts: list[dict[str, torch.Tensor]] = []
        for s in samples:
            assert s.boxes is not None
            one = draw(self.plan.augment, rng, dimensions=2)
            shape = s.image.shape[1:]
            grid = lattice(one, centre=middle(shape), shape=shape, patch=patch)
            image = recoloured(sampled(s.image, grid), one)
            where = np.asarray(middle(shape)) + one.shift * np.asarray(patch)
            inverse = np.linalg.inv(one.matrix)
            ends = [
                ((s.boxes[:, a : a + 2] - 0.5 - where) @ inverse.T) + (np.asarray(patch) - 1) / 2
                for a in (0, 2)
            ]
            low, high = np.minimum(*ends) + 0.5, np.maximum(*ends) + 0.5
            boxes = np.column_stack([low, high, s.boxes[:, 4]])
            parts.append({"image": image, **targets(boxes, len(self.plan.classes), patch, stride)})
        return stacked(parts)

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Focal plus a tenth of the distances of log2 sides plus the distances of offsets."""
        out = network(batch["image"]).float()
        k = len(self.plan.classes)
        there = batch["there"][:, None]
        number = there.sum().clamp_min(1)
        loss = focal(out[:, :k], batch["heat"]) / number
        sides = (functional.smooth_l1_loss(out[:, k : k + 2], batch["size"], reduction="none",
                                           beta=0.1) * there).sum() / number  # fmt: skip
        offset = (functional.l1_loss(out[:, k + 2 :], batch["offset"], reduction="none")
                  * there).sum() / number  # fmt: skip
        return loss + sides + 0.5 * offset

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """Mean average precision at an overlap of one half."""
        found = [detected(network, s, self.plan) for s in samples]
        truth = [s.boxes if s.boxes is not None else np.zeros((0, 5)) for s in samples]
        each = [average_precision(found, truth, kind=k) for k in range(len(self.plan.classes))]
        result = {"score": float(np.nanmean(each))}
        return result | {f"ap50 {n}": float(v) for n, v in zip(self.plan.classes, each,
                                                               strict=True)}  # fmt: skip


def detected(network: torch.nn.Module, s: Sample, plan: Plan) -> Float:
    """Rows y0, x0, y1, x1, class, score in pixels of the prepared picture."""
    device = next(network.parameters()).device
    step = 8 * plan.stride
    pads = [(-n) % step for n in s.image.shape[1:]]
    image = functional.pad(s.image[None], (0, pads[1], 0, pads[0]), mode="replicate")
    network.eval()
    with torch.inference_mode():
        maps = network(image.to(device)).float()[0].cpu().numpy()
    corners, score, kind = peaks(
        maps, classes=len(plan.classes), stride=plan.stride, threshold=LEAST
    )
    keep = suppressed(corners, score, kind)
    return np.column_stack([corners[keep], kind[keep], score[keep]])


def targets(
    boxes: Float, classes: int, patch: Sequence[int], stride: int
) -> dict[str, torch.Tensor]:
    """What the maps should be for boxes ``(n, 5)`` in pixels of the patch."""
    h, w = (n // stride for n in patch)
    heat = np.zeros((classes, h, w), np.float32)
    size = np.zeros((2, h, w), np.float32)
    offset = np.zeros((2, h, w), np.float32)
    there = np.zeros((h, w), np.float32)
    yy, xx = np.mgrid[:h, :w]
    # The small ones last: where two share a cell the smaller is kept.
    for y0, x0, y1, x1, k in sorted(boxes.tolist(), key=lambda b: -(b[2] - b[0]) * (b[3] - b[1])):
        cy, cx = (y0 + y1) / 2 / stride, (x0 + x1) / 2 / stride
        iy, ix = int(cy), int(cx)
        if not (0 <= cy < h and 0 <= cx < w):
            continue
        bh, bw = max(y1 - y0, 1.0) / stride, max(x1 - x0, 1.0) / stride
        sy, sx = max(bh / 8, 0.4), max(bw / 8, 0.4)
        bump = np.exp(-0.5 * (((yy - iy) / sy) ** 2 + ((xx - ix) / sx) ** 2))
        heat[int(k)] = np.maximum(heat[int(k)], np.where(bump > 0.01, bump, 0.0))
        heat[int(k), iy, ix] = 1.0
        # Neighbours of the centre learn the sides too: more to learn from, and steadier peaks.
        for ny in range(max(iy - 1, 0), min(iy + 2, h)):
            for nx in range(max(ix - 1, 0), min(ix + 2, w)):
                if (ny, nx) != (iy, ix) and (there[ny, nx] == 1.0 or min(bh, bw) < 4):
                    continue
                there[ny, nx] = 1.0 if (ny, nx) == (iy, ix) else 0.5
                size[:, ny, nx] = np.log2((bh, bw))
                offset[:, ny, nx] = (cy - ny - 0.5, cx - nx - 0.5)
    named = {"heat": heat, "size": size, "offset": offset, "there": there}
    return {n: torch.from_numpy(v) for n, v in named.items()}


def focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Penalty-reduced focal loss (alpha 2, beta 4), summed; ``heat`` is 1 at centres."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (heat == 1).float()
    yes = (1 - p) ** 2 * p.log() * centre
    no = p**2 * (1 - p).log() * (1 - heat) ** 4 * (1 - centre)
    return -(yes + no).sum()
