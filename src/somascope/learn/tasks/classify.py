"""Learning to classify whole images, and single objects of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from somascope.core.grid import Array, Float
from somascope.learn.augment import Draw, draw, lattice, recoloured
from somascope.learn.metrics.ranking import auc_of
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle, shuffled, stacked


class Classify:
    """Cross-entropy with every class counting the same."""

    def __init__(self, plan: Plan, samples: Sequence[Sample]) -> None:
        self.plan = plan
        counts = np.bincount([s.label for s in samples], minlength=len(plan.classes))
        weights = counts.sum() / np.maximum(counts, 1) / len(counts)
        self.weights = torch.tensor(weights, dtype=torch.float32)

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Any, none twice."""
        return shuffled(len(samples), self.plan.batch, rng)

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``image`` ``(n, c, *patch)`` and ``label`` ``(n,)``."""
        patch = self.plan.patch
        shape = samples[0].image.shape[1:]
        draws = [draw(self.plan.augment, rng, dimensions=len(patch)) for _ in samples]
        centre = middle(shape)
        grid = torch.cat([lattice(d, centre=centre, shape=shape, patch=patch) for d in draws])
        images = functional.grid_sample(
            torch.stack([s.image for s in samples]), grid, padding_mode="border",
            align_corners=True,
        )  # fmt: skip
        parts = [
            {"image": self._recoloured(i, d), "label": torch.tensor(s.label)}
            for s, d, i in zip(samples, draws, images, strict=True)
        ]
        return stacked(parts)

    def _recoloured(self, image: torch.Tensor, one: Draw) -> torch.Tensor:
        if self.plan.single is None:
            return recoloured(image, one)
        return torch.cat([recoloured(image[:-1], one), image[-1:]])  # the mark has no colour

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted cross-entropy, labels smoothed by a twentieth."""
        logits = network(batch["image"])
        weight = self.weights.to(logits.device)
        return functional.cross_entropy(
            logits.float(), batch["label"], weight=weight, label_smoothing=0.05
        )

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """AUC (mean over classes) is the score."""
        logits = predicted(network, samples)
        truth = np.array([s.label for s in samples])
        auc = auc_of(logits, truth)
        accuracy = float((logits.argmax(axis=1) == truth).mean())
        shifted = logits - logits.max(axis=1, keepdims=True)
        log = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = float(-log[np.arange(len(truth)), truth].mean())
        return {"score": auc - 0.02 * loss, "auc": auc, "accuracy": accuracy, "loss": loss}


def predicted(network: torch.nn.Module, samples: Sequence[Sample], *, batch: int = 64) -> Float:
    """Logits ``(n, classes)`` of unchanged images."""
    device = next(network.parameters()).device
    found: list[Array] = []
    network.eval()
    with torch.inference_mode():
        for i in range(0, len(samples), batch):
            images = torch.stack([s.image for s in samples[i : i + batch]]).to(device)
            found.append(network(images).float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)
