"""One loop for all tasks: a budget in minutes, exact resume, early stopping, averaged weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.learn import checkpoint
from somascope.learn.networks import build
from somascope.learn.plan import Plan
from somascope.learn.tasks import Sample, Task, task

WARM_UP = 8
"""Steps after which the speed of this machine is known."""
CHECKS = 24
"""Validations of a run."""
PATIENCE = 10
"""Validations without a better score after which it stops."""


@dataclass(frozen=True)
class Trained:
    """The best averaged weights, and how it went (one record for each validation)."""

    network: nn.Module
    history: tuple[Mapping[str, float], ...]
    best: float
    steps: int
    stopped: str


def train(
    plan: Plan,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    folder: Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
    steps: int | None = None,
    every: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress = QUIET,
) -> Trained:
    """Train the plan's network.

    Parameters
    ----------
    folder
        Where the state is kept; a run that finds its own state there goes on from it and ends as
        if it had never been interrupted.
    start
        Weights to begin with (transfer learning); those whose names and shapes fit are taken.
    steps
        Fixes the number of steps; default: what the budget allows at the speed measured first.
    every
        Steps between validations.

    Raises
    ------
    ParameterError
        No examples to train or to validate on.
    """
    if not training or not validation:
        raise ParameterError(
            f"{len(training)} cases to train on and {len(validation)} to validate on; both need "
            "some"
        )
    run = Run(plan, training, validation, start=start, clock=clock)
    if folder is not None:
        run.restore(folder)
    return run.go(folder=folder, steps=steps, every=every, progress=progress)


def fitting(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> int:
    """Put weights of equal name and shape in place; how many values that were."""
    own = network.state_dict()
    taken = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **taken})
    return sum(v.numel() for v in taken.values())


def rate(step: int, total: int, *, most: float) -> float:
    """Warm-up over a twentieth, then a cosine to a hundredth."""
    warm = max(total // 20, 1)
    if step < warm:
        return most * (step + 1) / warm
    return most * (
        0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))
    )


class Run:
    """A network, its averaged weights, its optimiser and its state: trained step by step."""

    def __init__(
        self,
        plan: Plan,
        training: Sequence[Sample],
        validation: Sequence[Sample],
        *,
        start: Mapping[str, torch.Tensor] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan, self.training, self.validation = plan, training, validation
        self.clock = clock
        torch.manual_seed(plan.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() and plan.machine.gpu else
                                   "cpu")  # fmt: skip
        self.network = build(plan.network)
        if start:
            fitting(self.network, start)
        self.average = build(plan.network)
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)
        self.network.to(self.device)
        self.average.to(self.device)
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": plan.decay}, {"params": others,
                                                               "weight_decay": 0.0}],
            lr=plan.rate,
        )  # fmt: skip
        self.task: Task = task(plan, training)
        whose = (sorted({s.patient for s in part}) for part in (training, validation))
        self.state = checkpoint.State(checkpoint.digest_of(plan.to_json(), *whose))
        self.best = {k: v.clone() for k, v in self.average.state_dict().items()}
        # A GPU waits for batches; cores that train have nothing left to make them ahead.
        spare = min(plan.machine.cores - 1, 8) if self.device.type == "cuda" else 0
        self.pool = ThreadPoolExecutor(spare, "batches") if spare > 0 else None
        self.ahead: dict[int, Future[tuple[int, dict[str, torch.Tensor]]]] = {}

    def restore(self, folder: Path) -> None:
        """Go on from the state in the folder, if it is this plan's."""
        found = checkpoint.load(
            folder, self.state.plan, network=self.network, average=self.average,
            optimiser=self.optimiser,
        )  # fmt: skip
        if found is not None:
            self.state, best = found
            self.best = {k: v.to(self.device) for k, v in best.items()}

    def go(
        self, *, folder: Path | None, steps: int | None, every: int | None, progress: Progress
    ) -> Trained:
        """Train to the end and give the best averaged weights."""
        state, budget = self.state, self.plan.budget_minutes * 60
        began = self.clock() - state.elapsed
        if steps is not None and not state.total:
            state.total = steps
        measured = 0.0
        while not state.stopped:
            before = self.clock()
            loss = self.step()
            state.step += 1
            took = self.clock() - before
            if state.step > 2:
                measured = took if not measured else 0.8 * measured + 0.2 * took
            if not state.total and state.step >= WARM_UP:
                room = budget * 0.85 - (self.clock() - began)
                fits = int(room / max(measured, 1e-6))
                state.total = max(min(state.step + fits, self.plan.most_steps), WARM_UP + 1)
            total = state.total or self.plan.most_steps
            state.elapsed = self.clock() - began
            done = state.step / total
            progress(done, f"step {state.step}/{total} loss {loss:.3f} best {state.best:.4f}")
            gap = every or max(total // CHECKS, 1)
            last = bool(state.total) and state.step >= total
            if (state.total and state.step % gap == 0) or last:
                self._check(loss)
                state.elapsed = self.clock() - began
                late = state.elapsed + (total - state.step) * measured > 1.1 * budget
                if late and steps is None:
                    left = max(budget - state.elapsed, 0.0)
                    state.total = min(
                        state.step + max(int(0.8 * left / max(measured, 1e-6)), 0), total
                    )
                    last = state.step >= state.total
                if last:
                    state.stopped = "all steps done"
                # Only late in the cosine does a pause in progress mean that it is over.
                elif state.step - state.best_step > PATIENCE * gap and done > 0.6:
                    state.stopped = f"no better since step {state.best_step}"
                self._save(folder)
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        self.average.load_state_dict(self.best)
        self.average.eval()
        return Trained(
            self.average.cpu(), tuple(state.history), state.best, state.step, state.stopped
        )

    def _made(self, step: int) -> tuple[int, dict[str, torch.Tensor]]:
        """The seed and batch of a step: of nothing but the plan and its number."""
        rng = np.random.default_rng((self.plan.seed, step))
        seed = int(rng.integers(2**31))
        chosen = self.task.chosen(self.training, rng)
        return seed, self.task.batch([self.training[i] for i in chosen], rng)

    def _batch(self, step: int) -> tuple[int, dict[str, torch.Tensor]]:
        if self.pool is None:
            return self._made(step)
        for n in range(step, step + 16):
            if n not in self.ahead:
                self.ahead[n] = self.pool.submit(self._made, n)
        return self.ahead.pop(step).result()

    def step(self) -> float:
        """Make the batch of the state's step and learn from it; the loss."""
        state, plan = self.state, self.plan
        seed, batch = self._batch(state.step)
        torch.manual_seed(seed)
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        now = rate(state.step, state.total or plan.most_steps, most=plan.rate)
        for group in self.optimiser.param_groups:
            group["lr"] = now
        self.network.train()
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.task.loss(self.network, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        keep = min(plan.average, (1 + state.step) / (10 + state.step))
        with torch.no_grad():
            own = self.network.state_dict()
            for name, value in self.average.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(own[name], 1 - keep)
                else:
                    value.copy_(own[name])
        return float(loss.detach())

    def _check(self, loss: float) -> None:
        state = self.state
        found = self.task.score(self.average, self.validation)
        state.history.append({"step": float(state.step), "training_loss": loss, **found})
        if found["score"] > state.best or not math.isfinite(state.best):
            state.best, state.best_step = found["score"], state.step
            self.best = {k: v.clone() for k, v in self.average.state_dict().items()}

    def _save(self, folder: Path | None) -> None:
        if folder is not None:
            checkpoint.save(
                folder, self.state, network=self.network, average=self.average, best=self.best,
                optimiser=self.optimiser,
            )  # fmt: skip
