"""The state of a training run on disk: safetensors and JSON, whole or not at all, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from somascope.core.errors import CorruptFile
from somascope.io.atomic import replacing

STATE = "state.json"


@dataclass
class State:
    """Where a run is: enough, with the weights, to go on as if nothing had happened.

    Every random number of step ``n`` comes from ``(seed, n)``, so no generator has to be kept.
    ``elapsed`` seconds are of all of it, ``before`` of what came before the first step.
    """

    plan: str
    step: int = 0
    total: int = 0
    elapsed: float = 0.0
    before: float = 0.0
    best: float = float("-inf")
    best_step: int = 0
    stopped: str = ""
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    weights: str = ""
    digest: str = ""


def digest_of(plan: str, training: Sequence[str], validation: Sequence[str]) -> str:
    """What a run is for: SHA-256 of its plan and of the patients on either side.

    Another plan is another run, and so is the same plan on other patients: weights that have seen
    a patient are never gone on with where that patient is held out.
    """
    text = json.dumps([plan, list(training), list(validation)])
    return hashlib.sha256(text.encode()).hexdigest()


def save(
    folder: Path,
    state: State,
    *,
    network: nn.Module,
    average: nn.Module,
    best: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the weights under a new name, then the state that names them, then drop the old."""
    from safetensors.torch import save as packed

    tensors: dict[str, torch.Tensor] = {}
    for name, values in (
        ("network", network.state_dict()),
        ("average", average.state_dict()),
        ("best", best),
    ):
        tensors |= {f"{name}.{k}": v for k, v in values.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimiser.{index}.{key}"] = torch.as_tensor(value)
    data = packed({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
    old = state.weights
    state.weights = f"step-{state.step:08d}.safetensors"
    state.digest = hashlib.sha256(data).hexdigest()
    with replacing(folder / state.weights) as file:
        file.write(data)
    with replacing(folder / STATE) as file:
        file.write(json.dumps(asdict(state), indent=1).encode())
    if old and old != state.weights:
        (folder / old).unlink(missing_ok=True)


def load(
    folder: Path,
    plan: str,
    *,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> tuple[State, dict[str, torch.Tensor]] | None:
    """The state of an earlier run of this plan, its weights put in place; None where there is none.

    Raises
    ------
    CorruptFile
        The weights are not the ones the state was written with.
    """
    from safetensors.torch import load as unpacked

    if not (folder / STATE).is_file():
        return None
    try:
        record: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        state = State(**record)
        if state.plan != plan:
            return None
        data = (folder / Path(state.weights).name).read_bytes()
    except (ValueError, TypeError, OSError) as error:
        raise CorruptFile(
            f"{folder / STATE} cannot be gone on from ({error}); remove it"
        ) from error
    if hashlib.sha256(data).hexdigest() != state.digest:
        raise CorruptFile(f"{folder / state.weights} is damaged; remove {folder} and start again")
    tensors = unpacked(data)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        parts.setdefault(head, {})[rest] = value
    network.load_state_dict(parts["network"])
    average.load_state_dict(parts["average"])
    moments: dict[int, dict[str, Any]] = {}
    for name, value in parts.get("optimiser", {}).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = value
    described = optimiser.state_dict()
    described["state"] = moments
    optimiser.load_state_dict(described)
    return state, parts["best"]
