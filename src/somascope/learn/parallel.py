"""Several processes train one network: each learns from its share of a batch, all step alike.

Started by ``torchrun``: ``torchrun --nproc-per-node 2 -m somascope.cli train ...``. Gradients (and
the running means of normalisation) are averaged after every step, so that all processes hold equal
weights; what depends on a clock is decided by the first and told to the others. Outside of torchrun
a team is one process and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")

WAIT = timedelta(minutes=30)
"""For a process that is late: preparing takes longer in one than in another."""


@dataclass(frozen=True)
class Team:
    """One process among all: ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Every ``size``-th item; of fewer items than processes each gets one all the same."""
        mine = list(items[self.rank :: self.size])
        return mine or [items[self.rank % len(items)]]

    def average(self, network: nn.Module) -> None:
        """Put the mean of all processes' gradients in place of this one's."""
        if self.size == 1:
            return
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        self._mean(grads)

    def settle(self, network: nn.Module) -> None:
        """Put the mean of all processes' running statistics in place of this one's."""
        if self.size > 1:
            self._mean([b for b in network.buffers() if b.dtype.is_floating_point])

    def _mean(self, tensors: Sequence[torch.Tensor]) -> None:
        if not tensors:
            return
        # One message: a hundred small ones would wait a hundred times.
        flat = torch.cat([t.reshape(-1) for t in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        at = 0
        for t in tensors:
            t.copy_(flat[at : at + t.numel()].reshape(t.shape))
            at += t.numel()

    def agreed(self, number: float) -> float:
        """What the first process says of ``number``."""
        if self.size == 1:
            return number
        told = torch.tensor([number], dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            told = told.cuda()
        distributed.broadcast(told, src=0)
        return float(told[0])

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


def team() -> Team:
    """The team this process is in, from what torchrun says; joined with the first call."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not distributed.is_available():
        return Team()
    rank = int(os.environ["RANK"])
    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(backend, rank=rank, world_size=size, timeout=WAIT)
    return Team(rank, size)
