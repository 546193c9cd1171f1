"""Before there are labels: learn to say what was hidden, and start from that.

Most of an image is covered by blocks and the network has to draw what lies below. What it has to
know for that (edges, shapes, what comes beside what) is what it needs for any task. Only its head,
which belongs to the task, is thrown away. After He et al., masked autoencoders, CVPR 2022, and Xie
et al., SimMIM, CVPR 2022, whose light decoder this is: one linear layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.learn.augment import draw, lattice, sampled
from somascope.learn.device import device_of
from somascope.learn.networks import UNet, build
from somascope.learn.parallel import team
from somascope.learn.plan import Plan
from somascope.learn.semi import centre
from somascope.learn.tasks.sample import Sample
from somascope.learn.train import WARM_UP, fitting, rate

Pretrain: TypeAlias = Literal["masked", "consistency"]

HIDDEN = 0.5
"""Part of the image that is covered; above that small images have too little left."""
SHARE = 0.3
"""Part of the budget for what comes before the training."""
EPOCHS = 60


class Drawer(nn.Module):
    """A task's network up to its last maps, and a linear layer that draws the image from them."""

    def __init__(self, network: nn.Module, *, channels: int, patch: Sequence[int]) -> None:
        super().__init__()
        features = getattr(network, "features", None)
        if features is None:
            raise ParameterError(
                f"{type(network).__name__} has no maps of the image to draw it from; pretrain "
                "another network"
            )
        self.network, self.channels = network, channels
        self.features: Callable[[torch.Tensor], torch.Tensor] = features
        network.eval()  # a look at nothing must not move running means
        with torch.inference_mode():
            maps = features(torch.zeros(2, channels, *patch))
        self.ratio = tuple(p // n for p, n in zip(patch, maps.shape[2:], strict=True))
        kind = nn.Conv2d if len(patch) == 2 else nn.Conv3d
        self.draw = kind(maps.shape[1], channels * math.prod(self.ratio), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The drawing ``(n, channels, ...)`` of a covered image; as large, or a little smaller."""
        found = self.draw(self.features(x))
        n, _, *shape = found.shape
        d = len(shape)
        parts = found.reshape(n, self.channels, *self.ratio, *shape)
        # (n, c, r..., s...) to (n, c, s, r, s, r, ...): each cell becomes its block of pixels.
        order = [0, 1, *(a for i in range(d) for a in (2 + d + i, 2 + i))]
        sizes = [s * r for s, r in zip(shape, self.ratio, strict=True)]
        return parts.permute(order).reshape(n, self.channels, *sizes)


def hidden(
    shape: Sequence[int], rng: np.random.Generator, *, block: Sequence[int], share: float = HIDDEN
) -> torch.Tensor:
    """Which pixels are covered, bool ``(...)``: blocks of that size, ``share`` of all of them."""
    cells = [-(-n // b) for n, b in zip(shape, block, strict=True)]
    count = math.prod(cells)
    mask = np.zeros(count, bool)
    mask[rng.choice(count, max(round(share * count), 1), replace=False)] = True
    grown = mask.reshape(cells)
    for axis, b in enumerate(block):
        grown = grown.repeat(b, axis=axis)
    return torch.from_numpy(grown[tuple(slice(n) for n in shape)].copy())


def masked(
    plan: Plan,
    samples: Sequence[Sample],
    *,
    start: Mapping[str, torch.Tensor] | None = None,
    steps: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress = QUIET,
) -> dict[str, torch.Tensor]:
    """Weights to start from, without the head; learned from images alone, after ``start``.

    ``steps`` default: what `SHARE` of the plan's budget allows, at most `EPOCHS` times over the
    images; where the first steps told too little of the speed it ends early. Every random number of
    step ``n`` comes from the plan's seed and ``n``. It runs where the training will (`device_of`).

    Raises
    ------
    ParameterError
        No images, or a network that has no maps of the whole image (LeNet, registration, a reader
        of slices).
    """
    if not samples:
        raise ParameterError("no unlabelled images are given; give some")
    torch.manual_seed(plan.seed)
    network, mine = build(plan.network), team()
    fitting(network, start or {})
    device = device_of(plan)
    drawer = Drawer(network, channels=plan.channels, patch=plan.patch).to(device)
    optimiser = torch.optim.AdamW(drawer.parameters(), lr=plan.rate, weight_decay=plan.decay)
    most = max(EPOCHS * len(samples) // plan.batch, WARM_UP)
    total, began, n = steps or most, clock(), 0
    fixed = steps is not None
    block = [max(p // 8, r) for p, r in zip(plan.patch, drawer.ratio, strict=True)]
    drawer.train()
    while n < total:
        made = _batch(plan, samples, block, np.random.default_rng((plan.seed, n)))
        images, covered = (t.to(device, non_blocking=True) for t in made)
        for group in optimiser.param_groups:
            group["lr"] = rate(n, total, most=plan.rate)
        middle = images.flatten(2).mean(dim=2).reshape(*images.shape[:2], *[1] * len(plan.patch))
        given = torch.where(covered, middle, images)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            drawn = drawer(given).float()
        key = (slice(None), slice(None), *(slice(m) for m in drawn.shape[2:]))
        counts = covered[key].expand_as(drawn)
        loss = functional.mse_loss(drawn[counts], images[key][counts])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(drawer.parameters(), 5.0)
        optimiser.step()
        n += 1
        if not fixed and n >= WARM_UP:  # the first of several processes decides for all
            spent = clock() - began
            left = SHARE * plan.budget_minutes * 60 - spent
            if n == WARM_UP:
                total = min(most, n + max(int(mine.agreed(left / max(spent / n, 1e-6))), 0))
            elif mine.agreed(left) < 0:
                total = n
        progress(
            n / total, f"drawing what is hidden, step {n}/{total} loss {float(loss.detach()):.3f}"
        )
    learned = network.cpu().state_dict()
    return {k: v.detach().clone() for k, v in learned.items() if not _own(network, k)}


def _own(network: nn.Module, name: str) -> bool:
    """Whether a weight belongs to the task alone: after the last maps."""
    after = ("head.",) if isinstance(network, UNet) else ("head.", "norm.", "dropout.")
    return name.startswith(after)


def _batch(
    plan: Plan, samples: Sequence[Sample], block: Sequence[int], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(n, c, *patch)``, turned and shifted as the plan says, and what is covered."""
    images: list[torch.Tensor] = []
    covered: list[torch.Tensor] = []
    for i in rng.choice(len(samples), plan.batch, replace=len(samples) < plan.batch):
        image = samples[int(i)].image
        shape = image.shape[1:]
        one = draw(plan.augment, rng, dimensions=len(plan.patch))
        where = centre(shape, plan.patch, rng)
        images.append(sampled(image, lattice(one, centre=where, shape=shape, patch=plan.patch)))
        covered.append(hidden(plan.patch, rng, block=block)[None])
    return torch.stack(images), torch.stack(covered)
