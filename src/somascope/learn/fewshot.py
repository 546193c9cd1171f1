"""A head from a handful of cases: the network stays as it is, its last layer is computed.

Each class is the mean of its cases in the network's last features, under one covariance for all,
shrunk towards a sphere: linear discriminant analysis. For one case a class that is nearest mean, as
in Snell et al., prototypical networks, NeurIPS 2017. The result is a linear layer like any other,
so that the model is exported, calibrated and explained as usual.

Sources: Fisher, Annals of Eugenics 7, 1936; Ledoit and Wolf, J. Multivariate Analysis 88, 2004.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.device import device_of
from somascope.learn.networks import build
from somascope.learn.plan import Plan
from somascope.learn.tasks import Sample, task
from somascope.learn.train import Trained, fitting

LOOKS = 8
"""Times that every case is seen, each time changed as the plan's augmentation says."""


def discriminant(features: Float, labels: Array, *, classes: int) -> tuple[Float, Float]:
    """Weights ``(classes, d)`` and biases of the linear discriminant, every class as frequent.

    Raises
    ------
    ParameterError
        A class without a case.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ParameterError(f"class {int(counts.argmin())} has no case; give each class one")
    means = np.stack([features[labels == k].mean(axis=0) for k in range(classes)])
    apart = features - means[labels]
    n, d = apart.shape
    covariance = apart.T @ apart / n
    middle = float(np.trace(covariance)) / d
    # Ledoit and Wolf: as much of the sphere as the sample's covariance is uncertain.
    spread = float(((covariance - middle * np.eye(d)) ** 2).sum())
    noise = float(((apart**2).sum(axis=1) ** 2).sum() / n - (covariance**2).sum()) / n
    part = min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0
    shrunk = (1 - part) * covariance + (part * middle + 1e-9 + 1e-3 * middle) * np.eye(d)
    weights = np.linalg.solve(shrunk, means.T).T
    return weights, -0.5 * (weights * means).sum(axis=1)


def few_shot(
    plan: Plan,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    start: Mapping[str, torch.Tensor],
    progress: Progress = QUIET,
) -> Trained:
    """The plan's classifier with another model's weights and a head computed from the cases.

    Raises
    ------
    ParameterError
        Not a classifier that ends in one linear layer, or weights of another network.
    """
    network = build(plan.network)
    head = getattr(network, "head", None)
    if plan.task != "classify" or not isinstance(head, nn.Linear):
        raise ParameterError(
            f"a head is computed for classifiers that end in one linear layer, not for "
            f"{plan.network['kind']} to {plan.task}"
        )
    body = {k: v for k, v in start.items() if not k.startswith("head.")}
    own = {k: v for k, v in network.state_dict().items() if not k.startswith("head.")}
    strange = [k for k, v in own.items() if k not in body or body[k].shape != v.shape]
    if strange:
        raise ParameterError(
            f"the weights to start from are of another network ({strange[0]} does not fit); give "
            "the plan of that model (--plan)"
        )
    fitting(network, body)
    work = task(plan, training)
    found: list[Float] = []

    def keep(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        found.append(given[0].double().cpu().numpy())

    labels: list[Array] = []
    handle = head.register_forward_pre_hook(keep)
    device = device_of(plan)
    network.to(device).eval()
    try:
        with torch.inference_mode():
            for look in progress.over(range(LOOKS), "looking at the cases"):
                rng = np.random.default_rng((plan.seed, look))
                for i in range(0, len(training), 32):
                    batch = work.batch(training[i : i + 32], rng)
                    network(batch["image"].to(device))
                    labels.append(batch["label"].numpy())
    finally:
        handle.remove()
    weights, biases = discriminant(
        np.concatenate(found), np.concatenate(labels), classes=len(plan.classes)
    )
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights))
        head.bias.copy_(torch.from_numpy(biases))
    figures = work.score(network, validation)
    record = {"step": 0.0, "training_loss": 0.0, **figures}
    return Trained(network.eval().cpu(), (record,), figures["score"], 0, "head computed")
