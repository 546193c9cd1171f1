"""Learning to register pairs without a true map: alike, smooth, and labels upon labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from somascope.learn.augment import draw, lattice, recoloured, sampled
from somascope.learn.networks.voxelmorph import warped
from somascope.learn.plan import Plan
from somascope.learn.tasks.sample import Sample, middle, shuffled, spread, stacked

CHECKED = 24
"""Pairs that are registered at each validation."""


class Register:
    """Local correlation, smoothness, and Dice of the labels where there are any."""

    def __init__(self, plan: Plan, samples: Sequence[Sample]) -> None:
        self.plan = plan
        assert all(s.moving is not None for s in samples)

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Any, none twice."""
        return shuffled(len(samples), self.plan.batch, rng)

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """``fixed``, ``moving`` ``(n, c, *patch)``; ``fixed_mask``, ``moving_mask`` if known."""
        parts: list[dict[str, torch.Tensor]] = []
        for s in samples:
            assert s.moving is not None
            part: dict[str, torch.Tensor] = {}
            for name, image, mask in (
                ("fixed", s.image, s.mask),
                ("moving", s.moving, s.moving_mask),
            ):
                one = draw(self.plan.augment, rng, dimensions=len(self.plan.patch))
                part |= self._cut(name, image, mask, one)
            parts.append(part)
        return stacked(parts)

    def _cut(
        self, name: str, image: torch.Tensor, mask: torch.Tensor | None, one: object
    ) -> dict[str, torch.Tensor]:
        from somascope.learn.augment import Draw

        assert isinstance(one, Draw)
        shape = image.shape[1:]
        grid = lattice(one, centre=middle(shape), shape=shape, patch=self.plan.patch)
        part = {name: recoloured(sampled(image, grid), one)}
        if mask is not None:
            part[f"{name}_mask"] = sampled(mask.float(), grid, nearest=True).long()
        return part

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """1 - NCC, plus the squared slope of the displacement, plus 1 - Dice."""
        flow = network(batch["fixed"], batch["moving"]).float()
        loss = 1 - correlation(batch["fixed"], warped(batch["moving"], flow)) + 0.5 * slope(flow)
        if "fixed_mask" in batch and "moving_mask" in batch:
            k = int(max(batch["fixed_mask"].max(), batch["moving_mask"].max())) + 1
            a, b = (
                functional.one_hot(batch[f"{n}_mask"][:, 0], k).movedim(-1, 1).float()[:, 1:]
                for n in ("fixed", "moving")
            )
            moved = warped(b, flow)
            over = list(range(2, a.ndim))
            dice = (2 * (a * moved).sum(over) + 1) / ((a + moved).sum(over) + 1)
            loss = loss + 1 - dice.mean()
        return loss

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """Dice of moved labels, or correlation where there are none; folded voxels in percent."""
        none = {"rotate": 0.0}
        rng = np.random.default_rng(0)
        device = next(network.parameters()).device
        dices: list[float] = []
        before: list[float] = []
        alike: list[float] = []
        folded: list[float] = []
        network.eval()
        for s in spread(samples, CHECKED):
            one = draw(none, rng, dimensions=len(self.plan.patch))
            assert s.moving is not None
            part = self._cut("fixed", s.image, s.mask, one)
            part |= self._cut("moving", s.moving, s.moving_mask, one)
            part = {k: v[None].to(device) for k, v in part.items()}
            with torch.inference_mode():
                flow = network(part["fixed"], part["moving"]).float()
                alike.append(float(correlation(part["fixed"], warped(part["moving"], flow))))
                folded.append(float((jacobian(flow) <= 0).float().mean()) * 100)
                if "fixed_mask" in part and "moving_mask" in part:
                    moved = warped(part["moving_mask"].float(), flow, mode="nearest").long()
                    dices.append(overlap(part["fixed_mask"], moved))
                    before.append(overlap(part["fixed_mask"], part["moving_mask"]))
        result = {"score": float(np.mean(dices or alike)), "ncc": float(np.mean(alike)),
                  "folded_percent": float(np.mean(folded))}  # fmt: skip
        if dices:
            result |= {"dice": float(np.mean(dices)), "dice_before": float(np.mean(before))}
        return result


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean Dice of the labels of ``a``."""
    found: list[float] = []
    for k in range(1, int(a.max()) + 1):
        x, y = a == k, b == k
        found.append(float(2 * (x & y).sum() / (x.sum() + y.sum()).clamp_min(1)))
    return float(np.mean(found)) if found else float("nan")


def correlation(a: torch.Tensor, b: torch.Tensor, *, window: int = 7) -> torch.Tensor:
    """Mean local correlation in windows of ``window`` voxels, 1 where equal up to gain."""
    axes = range(a.ndim - 2)
    pool = functional.avg_pool2d if a.ndim == 4 else functional.avg_pool3d

    def mean(x: torch.Tensor) -> torch.Tensor:
        for axis in axes:  # one after the other: a cube's mean is the mean of means
            edge = tuple(window if i == axis else 1 for i in axes)
            pad = tuple(n // 2 for n in edge)
            x = pool(x, edge, stride=1, padding=pad, count_include_pad=False)  # pyright: ignore
        return x

    ma, mb = mean(a), mean(b)
    cross = mean(a * b) - ma * mb
    va, vb = (mean(a * a) - ma * ma).clamp_min(0), (mean(b * b) - mb * mb).clamp_min(0)
    return (cross / (va * vb + 1e-3).sqrt()).mean()


def slope(flow: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbours."""
    parts = [torch.diff(flow, dim=d).square().mean() for d in range(2, flow.ndim)]
    return torch.stack(parts).mean()


def jacobian(flow: torch.Tensor) -> torch.Tensor:
    """Determinant of the map's derivative, by forward differences; 0 or less is a fold."""
    d = flow.shape[1]
    rows = [torch.diff(flow, dim=2 + a)[tuple(
        slice(0, -1) if i >= 2 and i != 2 + a else slice(None) for i in range(flow.ndim)
    )] for a in range(d)]  # fmt: skip
    derivative = torch.stack(rows, dim=-1).movedim(1, -2)
    return torch.linalg.det(derivative + torch.eye(d, device=flow.device))
