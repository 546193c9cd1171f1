"""Learning to reconstruct: images are scanned by `acquire.mri.simulate`, the way back learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from somascope import __version__
from somascope.acquire.mri.simulate import simulate
from somascope.core import QUIET, Acquisition, Image, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.learn.export import graph_of
from somascope.learn.make import WEIGHTS
from somascope.learn.networks.varnet import VarNet
from somascope.learn.train import rate
from somascope.models import NetworkCard, package
from somascope.models.reconstruct import Slices, pairs, slices


@dataclass(frozen=True)
class Protocol:
    """How training images are scanned: see `acquire.mri.simulate`. ``snr`` is drawn in between."""

    coils: int = 8
    acceleration: int = 4
    calibration: int = 12
    pattern: str = "regular"
    snr: tuple[float, float] = (15.0, 60.0)


def scanned(image: Image, protocol: Protocol, *, seed: int) -> Acquisition:
    """One image (2-D) as this protocol measures it."""
    rng = np.random.default_rng(seed)
    low, high = (math.log(v) for v in protocol.snr)
    return simulate(
        image, coils=protocol.coils, acceleration=protocol.acceleration,
        calibration=protocol.calibration, snr=math.exp(rng.uniform(low, high)), seed=seed,
        pattern="random" if protocol.pattern == "random" else "regular",
    )  # fmt: skip


def varnet(
    images: Sequence[Image],
    *,
    protocol: Protocol | None = None,
    steps: int = 400,
    batch: int = 2,
    most: float = 4e-3,
    cascades: int = 4,
    width: int = 24,
    seed: int = 0,
    progress: Progress = QUIET,
) -> VarNet:
    """Train an unrolled network on images (2-D, all of one shape); each is scanned twice.

    Sensitivities are the simulated coils'. The loss is the mean squared difference of the complex
    image, in units of its bright parts.

    Raises
    ------
    ParameterError
        No images, or images of different shapes.
    """
    shapes = {i.grid.shape for i in images}
    if len(shapes) != 1 or next(iter(shapes))[0] != 1:
        raise ParameterError(
            f"{len(images)} images of shapes {sorted(shapes)}; give slices of one shape"
        )
    protocol = protocol or Protocol()
    torch.manual_seed(seed)
    network = VarNet(cascades=cascades, width=width)
    known: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    for i, image in enumerate(progress.over(list(images), "scanning")):
        for turn in range(2):
            raw = scanned(image, protocol, seed=seed + 2 * i + turn)
            ready = slices(raw, "training")
            given = {k: torch.from_numpy(v) for k, v in ready.given(0).items()}
            known.append((given, torch.from_numpy(_truth(image, ready))))
    optimiser = torch.optim.Adam(network.parameters(), lr=most)
    network.train()
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        some = rng.choice(len(known), size=min(batch, len(known)), replace=False)
        inputs = [torch.cat([known[int(i)][0][k] for i in some]) for k in ("back", "maps", "kept")]
        truth = torch.cat([known[int(i)][1] for i in some])
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps, most=most)
        loss = functional.mse_loss(network(*inputs), truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        progress((step + 1) / steps, f"step {step + 1}/{steps} loss {float(loss.detach()):.2g}")
    return network.eval()


def _truth(image: Image, ready: Slices) -> Array:
    values = np.asarray(image.data).reshape(1, *image.grid.shape[1:]).astype(np.complex64)
    return pairs(values / ready.scale)


def reconstructor(
    network: VarNet,
    examples: Sequence[Acquisition],
    out: str | Path,
    *,
    name: str = "",
    training_data: str = "",
    licence: str = "as the training data",
    overwrite: bool = False,
) -> NetworkCard:
    """Write a trained network as a model for `models.reconstruct`; ``examples`` prove the graph.

    The graph takes any size, number of coils and choice of lines.
    """
    from safetensors.torch import save

    out = Path(out)
    given = [
        {k: torch.from_numpy(v) for k, v in slices(raw, "export").given(0).items()}
        for raw in examples
    ]
    axes = {
        "back": {2: "y", 3: "x"}, "maps": {2: "coils", 3: "y", 4: "x"},
        "kept": {2: "y", 3: "y"}, "image": {2: "y", 3: "x"},
    }  # fmt: skip
    graph = graph_of(network, given, output="image", axes=axes)
    card = NetworkCard(
        name=name or out.name.removesuffix(".zip"), version="1", task="reconstruct",
        summary="Reconstructs Cartesian MRI of several coils, slice by slice",
        modalities=("MR",), dimensions=2, licence=licence,
        training_data=training_data or "simulated scans",
        limits=(
            f"Made by Somascope {__version__} from simulated scans: real coils move and drift.",
            "A prior can invent what it was trained on: compare with acquire.mri.sense.",
        ),
        sha256="0" * 64,
    )  # fmt: skip
    extras = {WEIGHTS: save({k: v.contiguous() for k, v in network.state_dict().items()})}
    return package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
