"""What each process of a team does in the test: one step, then a whole training; run by torchrun.

``python -m torch.distributed.run --nproc-per-node 2 --standalone teaming.py WORLD OUT``; without
torchrun it is a team of one.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from somascope.learn.datasets import open_dataset, parted
from somascope.learn.make import make
from somascope.learn.parallel import team
from somascope.learn.plan import Plan
from somascope.learn.tasks import samples
from somascope.learn.train import Run


def main(world: Path, out: Path) -> None:
    torch.set_num_threads(1)
    mine = team()
    data = open_dataset(world / "discs.npz", "classify")
    plan = Plan.from_json((world / "plan.json").read_bytes())
    a, b = parted(data.cases)
    run = Run(replace(plan, augment={}), samples(a, plan), samples(b, plan))
    run.step()
    grads = {n: p.grad.clone() for n, p in run.network.named_parameters()}
    save_file(grads, out / f"grads-{mine.rank}-of-{mine.size}.safetensors")
    _, trained = make(data, out / f"model-of-{mine.size}", chosen=plan, steps=4)
    weights = {k: v.contiguous() for k, v in trained.network.state_dict().items()}
    save_file(weights, out / f"weights-{mine.rank}-of-{mine.size}.safetensors")
    if mine.size > 1:
        mine.wait()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
