"""Learning to segment: patches around what matters, Dice and cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Array
from somascope.learn.augment import Thing, draw, lattice, recoloured, sampled
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle, shuffled, spread, stacked
from somascope.models.tiles import bands

IGNORED = 255
CHECKED = 24
"""Cases that are segmented at each validation."""


class Segment:
    """Dice plus cross-entropy on random patches, one in two around a voxel of some class."""

    def __init__(self, plan: Plan, samples: Sequence[Sample]) -> None:
        self.plan = plan
        self._inside: dict[str, list[Array]] = {}
        self._things: dict[str, Thing | None] = {}
        for s in samples:
            assert s.mask is not None
            values = s.mask[0].numpy()
            places = [np.argwhere(values == k + 1) for k in range(len(plan.classes))]
            # A few thousand places are as good as all of them.
            self._inside[s.id] = [p[:: max(len(p) // 4000, 1)].astype(np.int16) for p in places]
            if plan.augment.get("swell"):
                self._things[s.id] = Thing.of((values > 0) & (values != IGNORED))

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Any, none twice."""
        return shuffled(len(samples), self.plan.batch, rng)

    def _centre(self, s: Sample, rng: np.random.Generator) -> list[float]:
        shape, patch = s.image.shape[1:], self.plan.patch
        places = [p for p in self._inside.get(s.id, []) if len(p)]
        if places and rng.random() < 0.5:
            some = places[int(rng.integers(len(places)))]
            centre = [float(v) for v in some[int(rng.integers(len(some)))]]
        else:
            centre = [float(rng.uniform(0, n - 1)) for n in shape]
        # The patch stays inside where it can.
        return [
            min(max(c, (p - 1) / 2), n - 1 - (p - 1) / 2) if n > p else m
            for c, p, n, m in zip(centre, patch, shape, middle(shape), strict=True)
        ]

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``image`` ``(n, c, *patch)`` and ``mask`` ``(n, *patch)``."""
        patch = self.plan.patch
        parts: list[dict[str, torch.Tensor]] = []
        for s in samples:
            assert s.mask is not None
            one = draw(self.plan.augment, rng, dimensions=len(patch))
            grid = lattice(
                one, centre=self._centre(s, rng), shape=s.image.shape[1:], patch=patch,
                thing=self._things.get(s.id),
            )  # fmt: skip
            mask = sampled(s.mask.float(), grid, nearest=True)[0].long()
            parts.append({"image": recoloured(sampled(s.image, grid), one), "mask": mask})
        return stacked(parts)

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy plus one minus the mean Dice of the classes in the batch."""
        return dice_and_entropy(network(batch["image"]).float(), batch["mask"])

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """Mean Dice over classes and cases on the network's own lattice."""
        some = spread(samples, CHECKED)
        every: list[list[float]] = []
        for s in some:
            assert s.mask is not None
            found = segmented(network, s.image.numpy(), self.plan)
            truth = s.mask[0].numpy()
            counts = truth != IGNORED
            found = np.where(counts, found.reshape(truth.shape), 0)
            every.append([_dice(found == k + 1, (truth == k + 1) & counts)
                          for k in range(len(self.plan.classes))])  # fmt: skip
        means = np.nanmean(np.asarray(every), axis=0)
        result = {"score": float(np.mean(means))}
        names: Mapping[int, str] = dict(enumerate(self.plan.classes))
        return result | {f"dice {names[k]}": float(m) for k, m in enumerate(means)}


def _dice(a: Array, b: Array) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else float("nan")


def dice_and_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Logits ``(n, k, ...)`` against class numbers ``(n, ...)``; 255 does not count."""
    counts = (truth != IGNORED).float()
    known = torch.where(truth == IGNORED, torch.zeros_like(truth), truth)
    entropy = functional.cross_entropy(logits, known, reduction="none")
    entropy = (entropy * counts).sum() / counts.sum().clamp_min(1)
    p = logits.softmax(dim=1) * counts[:, None]
    one = functional.one_hot(known, logits.shape[1]).movedim(-1, 1).float() * counts[:, None]
    over = [0, *range(2, logits.ndim)]
    both = (p * one).sum(dim=over)[1:]
    sums = p.sum(dim=over)[1:] + one.sum(dim=over)[1:]
    dice = (2 * both + 1) / (sums + 1)
    return entropy + 1 - dice.mean()


def segmented(network: torch.nn.Module, image: Array, plan: Plan) -> Array:
    """Class numbers ``(z, y, x)`` of a prepared image ``(c, ...)``, by tiles as in use."""
    flat = plan.dimensions == 2
    data = image[:, None] if flat else image
    tile = (1, *plan.patch) if flat else plan.patch
    device = next(network.parameters()).device
    shape = data.shape[1:]
    widths = [(0, 0)] + [((max(t - n, 0)) // 2, max(t - n, 0) - max(t - n, 0) // 2)
                         for n, t in zip(shape, tile, strict=True)]  # fmt: skip
    data = np.pad(data, widths, mode="edge")
    network.eval()

    def run(one: Array) -> Array:
        given = torch.from_numpy(one[None, :, 0] if flat else one[None]).to(device)
        with torch.inference_mode():
            found = network(given).float().softmax(dim=1)[0].cpu().numpy()
        return found[:, None] if flat else found

    classes = len(plan.classes) + 1
    whole = np.concatenate(
        [b.argmax(axis=0) for _, b in bands(data, run, tile=tile, overlap=0.25, classes=classes)]
    )
    key = tuple(slice(w[0], w[0] + n) for w, n in zip(widths[1:], shape, strict=True))
    return whole[key]
