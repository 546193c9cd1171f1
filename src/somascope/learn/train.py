"""One loop for all tasks: a budget in minutes, exact resume, early stopping, averaged weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.learn import checkpoint
from somascope.learn.curves import Watch
from somascope.learn.networks import build
from somascope.learn.parallel import team
from somascope.learn.plan import Plan
from somascope.learn.semi import Consistency
from somascope.learn.tasks import Sample, Task, task

Weights: TypeAlias = Mapping[str, torch.Tensor]

WARM_UP = 8
"""Steps after which the speed of this machine is known."""
CHECKS = 12
"""Validations of a run."""
PATIENCE = 5
"""Validations without a better score after which it stops."""
REMEMBERED = 0.06
"""Part of a run that the averaged weights reach back over: a longer memory lags behind."""


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
    start: Weights | Callable[[], Weights] | None = None,
    key: str = "",
    beside: Consistency | None = None,
    steps: int | None = None,
    every: int | None = None,
    last: bool = False,
    watch: Watch | None = None,
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
        Weights to begin with (transfer learning); those whose names and shapes fit are taken. Or
        what makes them, called where no state is gone on from; its time is of the budget.
    key
        Says what ``start`` is: a run that began otherwise is another run.
    beside
        What is learned from unlabelled images in every step.
    steps
        Fixes the number of steps; default: what the budget allows at the speed measured first.
    every
        Steps between validations.
    last
        Go on to the end and keep the weights there, whichever were best on ``validation``: figures
        of ``validation`` are then of cases that decided nothing.
    watch
        Is told the loss of every step and the figures of every validation: `curves.watching`.

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
    run = Run(plan, training, validation, key=key, beside=beside, last=last, clock=clock)
    if not (folder is not None and run.restore(folder)) and start is not None:
        run.begin(start)
    return run.go(folder=folder, steps=steps, every=every, watch=watch, progress=progress)


def fitting(network: nn.Module, weights: Weights) -> int:
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
        key: str = "",
        beside: Consistency | None = None,
        last: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan, self.training, self.validation = plan, training, validation
        self.beside, self.clock, self.team, self.last = beside, clock, team(), last
        torch.manual_seed(plan.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() and plan.machine.gpu else
                                   "cpu")  # fmt: skip
        self.network = build(plan.network)
        self.average = build(plan.network)
        self.average.load_state_dict(self.network.state_dict())
        self.average.requires_grad_(False)
        # Channels stay first: oneDNN damages memory where they are last and few (torch 2.13, AVX2).
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
        text = plan.to_json() + key + (beside.key if beside is not None else "")
        text += "last" if last else ""
        self.state = checkpoint.State(checkpoint.digest_of(text, *whose))
        self.best = {k: v.clone() for k, v in self.average.state_dict().items()}
        # A GPU waits for batches; cores that train have nothing left to make them ahead.
        spare = min(plan.machine.cores - 1, 8) if self.device.type == "cuda" else 0
        self.pool = ThreadPoolExecutor(spare, "batches") if spare > 0 else None
        self.ahead: dict[int, Future[tuple[int, dict[str, torch.Tensor]]]] = {}

    def begin(self, start: Weights | Callable[[], Weights]) -> None:
        """Put weights in place before the first step; the time to make them counts."""
        if callable(start):
            before = self.clock()
            weights = start()
            self.state.before = self.state.elapsed = self.clock() - before
        else:
            weights = start
        fitting(self.network, weights)
        self.average.load_state_dict(self.network.state_dict())
        self.best = {k: v.clone() for k, v in self.average.state_dict().items()}

    def restore(self, folder: Path) -> bool:
        """Go on from the state in the folder, if it is this plan's; whether it was."""
        found = checkpoint.load(
            folder, self.state.plan, network=self.network, average=self.average,
            optimiser=self.optimiser,
        )  # fmt: skip
        if found is not None:
            self.state, best = found
            self.best = {k: v.to(self.device) for k, v in best.items()}
        return found is not None

    def go(
        self, *, folder: Path | None, steps: int | None, every: int | None,
        watch: Watch | None = None, progress: Progress = QUIET,
    ) -> Trained:  # fmt: skip
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
            if watch is not None and self.team.first:
                watch(state.step, {"training_loss": loss})
            if state.step > 2:
                measured = took if not measured else 0.8 * measured + 0.2 * took
            if not state.total and state.step >= WARM_UP:
                state.total = self._fitting(0.9 * budget - (self.clock() - began), measured)
            total = state.total or self.plan.most_steps
            state.elapsed = self.clock() - began
            done = state.step / total
            progress(done, f"step {state.step}/{total} loss {loss:.3f} best {state.best:.4f}")
            gap = every or max(total // CHECKS, 1)
            last = bool(state.total) and state.step >= total
            looked = int(state.history[-1]["step"]) if state.history else 0
            if (state.total and state.step - looked >= gap) or last:
                self._check(loss)
                if watch is not None and self.team.first:
                    found = state.history[-1].items()
                    watch(state.step, {k: v for k, v in found if k != "step"})
                state.elapsed = self.clock() - began
                if steps is None and not last:
                    # The first steps told too little of the speed, and machines have other work.
                    each = (state.elapsed - state.before) / state.step
                    left = 0.97 * budget - state.elapsed
                    late = left < 0.9 * (total - state.step) * each
                    if self.team.agreed(done < 0.5 or late):
                        state.total = self._fitting(left, each)
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

    def _fitting(self, left: float, each: float) -> int:
        """Steps in all, when ``left`` seconds remain and one takes ``each``."""
        fits = int(self.team.agreed(max(int(left / max(each, 1e-6)), 0)))
        return max(min(self.state.step + fits, self.plan.most_steps), WARM_UP + 1)

    def _made(self, step: int) -> tuple[int, dict[str, torch.Tensor]]:
        """The seed and batch of a step: of nothing but the plan and its number."""
        rng = np.random.default_rng((self.plan.seed, step))
        seed = int(rng.integers(2**31))
        chosen = self.team.share(self.task.chosen(self.training, rng))
        if self.team.size > 1:
            rng = np.random.default_rng((self.plan.seed, step, self.team.rank))
        batch = self.task.batch([self.training[i] for i in chosen], rng)
        if self.beside is not None:
            batch |= self.beside.batch(rng)
        return seed + self.team.rank, batch

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
            if self.beside is not None:
                share = state.step / (state.total or plan.most_steps)
                loss = loss + self.beside.loss(self.network, self.average, batch, share=share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.average(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.team.settle(self.network)
        memory = max(REMEMBERED * (state.total or plan.most_steps), 2.0)
        keep = min(plan.average, (1 + state.step) / (10 + state.step), 1 - 1 / memory)
        with torch.no_grad():
            own = self.network.state_dict()
            averaged = self.average.state_dict()
            names = [k for k, v in averaged.items() if v.dtype.is_floating_point]
            torch._foreach_lerp_([averaged[k] for k in names], [own[k] for k in names], 1 - keep)  # pyright: ignore
            for name in averaged.keys() - set(names):
                averaged[name].copy_(own[name])
        return float(loss.detach())

    def _check(self, loss: float) -> None:
        state = self.state
        found = self.task.score(self.average, self.validation)
        state.history.append({"step": float(state.step), "training_loss": loss, **found})
        if self.last or found["score"] > state.best or not math.isfinite(state.best):
            state.best, state.best_step = found["score"], state.step
            self.best = {k: v.clone() for k, v in self.average.state_dict().items()}

    def _save(self, folder: Path | None) -> None:
        if folder is not None and self.team.first:
            checkpoint.save(
                folder, self.state, network=self.network, average=self.average, best=self.best,
                optimiser=self.optimiser,
            )  # fmt: skip
