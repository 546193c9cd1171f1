"""Learning from images that nobody labelled, beside those that somebody did: consistency.

The same image, changed a little and changed a lot, must be called the same. The averaged weights
that every run keeps are the teacher (Tarvainen and Valpola, mean teacher, NeurIPS 2017); what it
says of the image changed a little is what the network has to say of the one changed a lot, where
the teacher is sure (Sohn et al., FixMatch, NeurIPS 2020): surer than it is on average of the batch
(Wang et al., FreeMatch, ICLR 2023), as early in a short run it is sure of little. Nothing is kept
that a checkpoint does not hold: a run goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from somascope.core.errors import ParameterError
from somascope.learn.augment import draw, lattice, recoloured, sampled
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle

RISE = 0.3
"""Part of the run over which the weight of the unlabelled rises."""
MORE = 1.6
"""Times that the strong change is larger than the plan's."""


def stronger(spec: Mapping[str, Any], *, by: float = MORE) -> dict[str, Any]:
    """A plan's changes, larger; what is mirrored stays as it is."""
    return {k: v * by if isinstance(v, float) else v for k, v in spec.items()}


class Consistency:
    """What the loop adds for unlabelled samples: a batch and a loss (classify, segment).

    Parameters
    ----------
    samples
        Unlabelled, prepared as the plan says.
    ratio
        Unlabelled images for each labelled one.
    weight
        Of the loss, at the end of its rise.

    Raises
    ------
    ParameterError
        No samples, or a task whose answers cannot be compared.
    """

    def __init__(
        self, plan: Plan, samples: Sequence[Sample], *, ratio: int = 2, weight: float = 1.0
    ) -> None:
        if not samples:
            raise ParameterError("no unlabelled images are given; give some")
        if plan.task not in ("classify", "segment"):
            raise ParameterError(
                f"consistency is for classify and segment, not for {plan.task}; use masked"
            )
        self.plan, self.samples, self.weight = plan, tuple(samples), weight
        self.count = max(plan.batch * ratio, 1)
        names = "\n".join(sorted(s.id for s in samples))
        self.key = hashlib.sha256(f"consistency {ratio} {weight}\n{names}".encode()).hexdigest()

    def batch(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``weak`` and ``strong`` ``(n, c, *patch)``: the same places, shades changed apart.

        Both are cut at one place by one geometry, so that the answers lie on each other, voxel by
        voxel; the strong one has other shades, is blurred, noisier, and has a hole.
        """
        patch = self.plan.patch
        weak: list[torch.Tensor] = []
        strong: list[torch.Tensor] = []
        for i in rng.choice(len(self.samples), self.count, replace=len(self.samples) < self.count):
            image = self.samples[int(i)].image
            shape = image.shape[1:]
            one = draw(self.plan.augment, rng, dimensions=len(patch))
            other = draw(stronger(self.plan.augment), rng, dimensions=len(patch))
            grid = lattice(one, centre=centre(shape, patch, rng), shape=shape, patch=patch)
            cut = sampled(image, grid)
            weak.append(cut)
            strong.append(_holed(recoloured(cut, other), rng))
        return {"weak": torch.stack(weak), "strong": torch.stack(strong)}

    def loss(
        self, network: nn.Module, teacher: nn.Module, batch: Mapping[str, torch.Tensor], *,
        share: float,
    ) -> torch.Tensor:  # fmt: skip
        """Cross-entropy with what the teacher is sure of; ``share`` of the run is over."""
        with torch.no_grad():
            said = teacher.eval()(batch["weak"]).float().softmax(dim=1)
            if self.plan.task == "classify":
                # Every class as often as any other, as in the labelled loss (Berthelot et al.,
                # ReMixMatch, ICLR 2020): else a few labels end in one class for all.
                said = said / said.mean(dim=0, keepdim=True)
                said = said / said.sum(dim=1, keepdim=True)
            sure, kind = said.max(dim=1)
            counts = (sure >= sure.mean()).float()
        logits = network(batch["strong"]).float()
        each = functional.cross_entropy(logits, kind, reduction="none")
        return self.weight * min(share / RISE, 1.0) * (each * counts).mean()


def centre(shape: Sequence[int], patch: Sequence[int], rng: np.random.Generator) -> list[float]:
    """Anywhere that the patch stays inside; the middle where it is as large as the image."""
    return [
        float(rng.uniform((p - 1) / 2, n - 1 - (p - 1) / 2)) if n > p else m
        for n, p, m in zip(shape, patch, middle(shape), strict=True)
    ]


def _holed(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``(c, ...)`` with a box of a quarter of each edge set to its mean (DeVries, Taylor 2017)."""
    key: list[slice] = [slice(None)]
    for n in image.shape[1:]:
        size = max(n // 4, 1)
        start = int(rng.integers(0, n - size + 1))
        key.append(slice(start, start + size))
    made = image.clone()
    made[tuple(key)] = image.mean()
    return made
