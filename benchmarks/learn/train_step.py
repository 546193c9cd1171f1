"""Samples a second of training a 3-D U-Net: Somascope's batches and step, and MONAI's usual ones.

The same volumes, the same network (there of PyTorch's layers, as MONAI's are), the same optimiser,
batches of two patches with rotation, scaling, shift, contrast, noise and smoothing of about the
same sizes and frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared

Array = np.ndarray
THREADS = 2


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Time of some steps, and the loss they come to."""
    import torch

    torch.set_num_threads(THREADS)
    patch, width, steps, rounds = ((16, 16, 16), 4, 3, 2) if small else ((40, 56, 40), 16, 8, 5)
    cases = volumes(12, patch)
    ours, peer = by_us(cases, patch, width), by_monai(cases, patch, width)
    yield compared(
        "learn.train_step", f"{'x'.join(map(str, patch))}, batch 2, width {width}, {steps} steps",
        package="monai", rounds=rounds, ours=lambda: ours(steps), peer=lambda: peer(steps),
        quality=float, metric="loss of the last step",
    )  # fmt: skip


def volumes(count: int, patch: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Values and labels ``(z, y, x)`` of noisy balls, a little larger than the patch."""
    rng = np.random.default_rng(0)
    shape = tuple(n + 8 for n in patch)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    found: list[tuple[Array, Array]] = []
    for _ in range(count):
        centre = np.asarray(shape) * rng.uniform(0.35, 0.65, 3)
        far = np.linalg.norm(index - centre, axis=-1) / min(shape)
        labels = (far < 0.3).astype(np.uint8) + (far < 0.15)
        values = labels + rng.normal(0, 0.3, shape)
        found.append((values.astype(np.float32), labels.astype(np.uint8)))
    return found


def by_us(
    cases: list[tuple[Array, Array]], patch: tuple[int, ...], width: int
) -> Callable[[int], float]:
    """The task's batches and the loop's step, as the planner has them but for the network."""
    from dataclasses import replace

    from somascope.core import Grid, Image
    from somascope.learn.datasets import Case, Dataset
    from somascope.learn.make import planned
    from somascope.learn.plan import Machine
    from somascope.learn.tasks import samples
    from somascope.learn.train import Run

    grid = Grid.from_spacing(cases[0][0].shape, (1.0, 1.0, 1.0))
    known = tuple(
        Case(str(i), str(i), lambda v=v: Image(v, grid, "MR"), mask=lambda m=m: m)
        for i, (v, m) in enumerate(cases)
    )
    data = Dataset("balls", "segment", ("outer", "inner"), known, "MR")
    plan = planned(data, budget_minutes=30, machine=Machine(THREADS))
    plan = replace(plan, patch=patch, batch=2, network=described(width))
    ready = samples(known, plan)
    made = Run(plan, ready, ready[:1])

    def steps(count: int) -> float:
        loss = 0.0
        for _ in range(count):
            loss = made.step()
            made.state.step += 1  # as the loop does: the next step draws the next batch
        return loss

    return steps


def described(width: int) -> dict[str, Any]:
    """The network of both, from the same seed."""
    return {"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 3,
            "widths": [width, 2 * width, 4 * width]}  # fmt: skip


def by_monai(
    cases: list[tuple[Array, Array]], patch: tuple[int, ...], width: int
) -> Callable[[int], float]:
    """Cached cases, random transforms, DataLoader, DiceCELoss, AdamW."""
    import torch
    from monai.data.dataloader import DataLoader
    from monai.data.dataset import CacheDataset
    from monai.losses.dice import DiceCELoss
    from monai.transforms.compose import Compose
    from monai.transforms.croppad.dictionary import RandCropByPosNegLabeld
    from monai.transforms.intensity.dictionary import (
        RandAdjustContrastd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )
    from monai.transforms.spatial.dictionary import RandAffined

    from somascope.learn.networks import build

    both = ["image", "label"]
    change = Compose([
        RandCropByPosNegLabeld(both, "label", spatial_size=patch, pos=1, neg=1, num_samples=1),
        RandAffined(
            both, prob=1.0, rotate_range=[np.radians(20)] * 3, scale_range=[0.2] * 3,
            shear_range=[0.05] * 6, translate_range=[0.08 * n for n in patch],
            mode=("bilinear", "nearest"), padding_mode="border",
        ),
        RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.25)),
        RandScaleIntensityd("image", factors=0.25, prob=1.0),
        RandShiftIntensityd("image", offsets=0.15, prob=1.0),
        RandGaussianSmoothd("image", prob=0.15),
        RandGaussianNoised("image", prob=1.0, std=0.05),
    ])  # fmt: skip
    items = [{"image": torch.from_numpy(v[None]), "label": torch.from_numpy(m[None])}
             for v, m in cases]  # fmt: skip
    data = CacheDataset(items, change, cache_rate=1.0, progress=False)
    loader = DataLoader(data, batch_size=2, shuffle=True, num_workers=0)
    torch.manual_seed(0)
    net = build(described(width)).train()
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv3d):
            layer.__class__ = torch.nn.Conv3d  # MONAI's networks are of PyTorch's layers, not ours
    lost = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    batches = forever()

    def steps(count: int) -> float:
        loss = torch.zeros(())
        for _ in range(count):
            batch = next(batches)
            optimiser.zero_grad(set_to_none=True)
            loss = lost(net(batch["image"]), batch["label"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
        return float(loss.detach())

    return steps
