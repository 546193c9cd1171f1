"""What kind of model from elsewhere a path is, and the package that is made of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused
from somascope.models import onnxfile
from somascope.models.card import NetworkCard
from somascope.models.engine import Runtime
from somascope.models.foreign.adapting import adapted, input_of
from somascope.models.foreign.told import Told
from somascope.models.foreign.tree import Tree
from somascope.models.package import Package

PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".ts", ".joblib")
"""Suffixes of files that run code when they are opened; they never are."""
OTHERS = (".h5", ".keras", ".pb", ".tflite", ".mlmodel", ".npz", ".npy")
REMEDY = (
    "save its weights where it was trained, as a graph (torch.onnx.export(network, example, "
    "'model.onnx')) or as plain numbers (safetensors.torch.save_file(network.state_dict(), "
    "'model.safetensors')), and import that"
)


@dataclass(frozen=True)
class Found:
    """A model from elsewhere: what its files tell, and a graph, or weights and their network.

    ``network`` describes the network as its makers do (``_target_`` or a class name, and
    arguments); `somascope.learn.adopt` builds the known ones.
    """

    told: Told
    origin: str
    graph: bytes = b""
    weights: bytes = b""
    network: Mapping[str, Any] = field(default_factory=dict[str, Any])


def taken(path: str | Path, told: Told | None = None, *, network: str = "") -> Found:
    """Look at a file or folder from elsewhere; the user's word (``told``) is over its own.

    Parameters
    ----------
    network
        JSON that describes the network of a plain safetensors file.

    Raises
    ------
    NotFound
        No such path.
    Refused
        A pickle, or a kind of file or setting that is not read here; the message says what to do.
    CorruptFile
        Damaged.
    """
    path = Path(path)
    said = told or Told()
    if not path.exists():
        raise NotFound(f"there is no file or folder {str(path)!r}")
    suffix = path.suffix.lower()
    plain = path.is_file() and suffix in (".onnx", ".safetensors")
    if plain and path.stat().st_size > onnxfile.LARGEST:
        raise Refused(f"{path.name} has more than {onnxfile.LARGEST} bytes")
    if path.is_file() and suffix == ".onnx":
        return Found(said, path.name, graph=path.read_bytes())
    if path.is_file() and suffix == ".safetensors":
        from somascope.models.foreign.bundle import described

        return Found(said, path.name, weights=_weights(path.read_bytes(), path.name),
                     network=described(network))  # fmt: skip
    if path.is_file() and suffix != ".zip":
        raise refusal(path.name)
    tree = Tree(path)
    names = set(tree.names)
    if "plans.json" in names or "dataset.json" in names:
        from somascope.models.foreign.nnunet import read

        found = read(tree, said)
    elif "configs/metadata.json" in names:
        from somascope.models.foreign.bundle import read

        found = read(tree, said)
    else:
        graphs = tree.ending(".onnx")
        if len(graphs) != 1:
            kinds = tree.ending(*PICKLED)
            if kinds and not graphs:
                raise refusal(kinds[0])
            raise Refused(
                f"{path.name} is no model that is known here: no card.json, no "
                "configs/metadata.json (MONAI), no plans.json (nnU-Net), and "
                f"{len(graphs)} graphs (.onnx)"
            )
        found = Found(said, path.name, graph=tree.read(graphs[0], most=onnxfile.LARGEST))
    return found


def weights_of(tree: Tree, *, among: list[str]) -> tuple[bytes, bytes]:
    """The graph, or else the safetensors, of a folder: one of both is empty.

    Raises
    ------
    Refused
        Neither, or several of one kind.
    """
    for suffix in (".onnx", ".safetensors"):
        fitting = [n for n in among if n.lower().endswith(suffix)]
        best = [n for n in fitting if Path(n).stem == "model"] or fitting
        if len(best) > 1:
            raise Refused(
                f"{tree.path.name} holds {len(best)} files {suffix} ({', '.join(best[:4])}); "
                "name one: import it alone, with flags, or take the others out"
            )
        if best:
            data = tree.read(best[0], most=onnxfile.LARGEST)
            return (data, b"") if suffix == ".onnx" else (b"", _weights(data, best[0]))
    pickled = [n for n in among if n.lower().endswith(PICKLED)]
    if pickled:
        raise refusal(pickled[0])
    raise Refused(f"{tree.path.name} holds neither model.onnx nor model.safetensors; {REMEDY}")


def refusal(name: str) -> Refused:
    """Of a file by its suffix."""
    suffix = Path(name).suffix.lower()
    if suffix in PICKLED:
        return Refused(f"{name} is a pickle, which runs code when it is opened, and is never "
                       f"opened here; {REMEDY}")  # fmt: skip
    if suffix in OTHERS:
        return Refused(f"{name} is of a kind ({suffix}) that is not read here; convert it to ONNX "
                       "where it was trained, and import that")  # fmt: skip
    return Refused(f"{name} is no model that is known here: a folder, .zip, .onnx or .safetensors")


def _weights(data: bytes, name: str) -> bytes:
    """Plain numbers behind a header of JSON; anything else is refused."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= size <= min(len(data) - 8, 1 << 27) or data[8:9] != b"{":
        raise CorruptFile(f"{name} is no safetensors file; {REMEDY}")
    return data


def finished(found: Found) -> Package:
    """The package: graph adapted, card filled, and one look at noise as the proof that they fit.

    Raises
    ------
    ParameterError
        Something is missing on the card; the message names the flag.
    Refused
        The graph is not run here, or answers otherwise than its card says.
    CorruptFile
        Numbers that no card can have.
    """
    if found.weights:
        raise ParameterError(f"{found.origin} holds weights alone; `somascope.learn.adopt` makes "
                             "the graph")  # fmt: skip
    onnxfile.inspect(found.graph)
    _, shape = input_of(found.graph)
    told = _completed(found.told, shape.channels, shape.sizes)
    told.check()
    graph = adapted(found.graph, told)
    card = told.card(origin=found.origin)
    sizes = card.patch or card.preparation.size[3 - card.dimensions :]
    if not sizes:
        what = "--size" if card.task == "classify" else "--patch"
        raise ParameterError(f"the graph takes any size; say with {what} which it was trained at")
    if math.prod(sizes) > onnxfile.ELEMENTS:
        raise Refused(f"{card.name}: a tile of {sizes} has more than {onnxfile.ELEMENTS} voxels")
    card = _named(card, _channels(graph, card, sizes))
    card = replace(card, sha256=hashlib.sha256(graph).hexdigest())
    return Package(NetworkCard.from_json(card.to_json()), graph)  # held to what any card is


def _completed(told: Told, channels: int, sizes: tuple[int, ...]) -> Told:
    """What the graph itself says: dimensions, channels, and sizes where they are fixed."""
    fixed = sizes if min(sizes) > 0 else None
    what = "size" if told.task == "classify" else "patch"
    given = getattr(told, what)
    if given is not None and fixed is not None and tuple(given) != fixed:
        raise ParameterError(f"{what} is {tuple(given)} and the graph takes {fixed} only")
    if told.dimensions is not None and told.dimensions != len(sizes):
        raise ParameterError(f"dimensions is {told.dimensions} and the graph takes {len(sizes)}-D "
                             "images")  # fmt: skip
    if told.channels is not None and channels and told.channels != channels:
        raise ParameterError(f"channels is {told.channels} and the graph takes {channels}")
    own = Told(dimensions=len(sizes), channels=channels or None, patch=fixed, size=fixed,
               answer="logits", axes="zyx" if len(sizes) == 3 else "yx")  # fmt: skip
    return told.over(own)


def _channels(graph: bytes, card: NetworkCard, sizes: tuple[int, ...]) -> int:
    """Channels of the answer to noise, whose other axes must be the card's."""
    noise = np.random.default_rng(0).normal(size=(1, card.channels, *sizes)).astype(np.float32)
    answer = Runtime(graph, 1)({"image": noise})[0]
    wanted = {"segment": (1, answer.shape[1] if answer.ndim > 1 else 0, *sizes),
              "classify": (1, answer.shape[1] if answer.ndim > 1 else 0)}  # fmt: skip
    if card.task in wanted and answer.shape != wanted[card.task]:
        raise Refused(
            f"{card.name}: the graph answers {answer.shape} to an image of {noise.shape}, which is "
            f"no answer of a model to {card.task}; choose another --output, --task or --patch"
        )
    if not np.isfinite(answer).all():
        raise Refused(f"{card.name}: the graph answers values that are not finite to noise")
    return int(answer.shape[1])


def _named(card: NetworkCard, channels: int) -> NetworkCard:
    """The card with a name for each class; numbers where nobody told them."""
    from somascope.models.card import ClassName

    other = {"segment": 1, "detect": -2 * card.dimensions}.get(card.task, 0)
    count = channels - other if card.task == "segment" else channels + other
    if count < (2 if card.task == "classify" else 1):
        raise Refused(f"{card.name}: the graph answers {channels} channels; a model to {card.task} "
                      "has more, or --answer sigmoid")  # fmt: skip
    classes = card.classes or tuple(ClassName.named(f"class-{k + 1}") for k in range(count))
    if len(classes) != count:
        named = ", ".join(c.name for c in classes)
        raise ParameterError(
            f"{card.name}: {len(classes)} classes are named ({named}) and the graph tells {count} "
            "apart" + (", without the background" if card.task == "segment" else "")
        )
    return replace(card, classes=classes)
