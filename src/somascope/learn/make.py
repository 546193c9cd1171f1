"""From a data set to a model in one call: fingerprint, plan, training, export, card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from somascope import __version__
from somascope.core import QUIET, Progress
from somascope.core.errors import Conflict, NotFound, Refused
from somascope.learn.datasets import Case, Dataset, parted
from somascope.learn.export import export
from somascope.learn.fingerprint import Leak, duplicates, fingerprint
from somascope.learn.plan import Machine, Plan, plan
from somascope.learn.tasks import samples
from somascope.learn.train import Trained, train
from somascope.models import familiar, package
from somascope.models.card import ClassName, NetworkCard

WEIGHTS = "weights.safetensors"
LOOKED_AT = 400
"""Images from which it is told what is usual; spread over the data set."""


def planned(
    dataset: Dataset,
    *,
    budget_minutes: float | None = None,
    machine: Machine | None = None,
    modality: str = "",
    most_bytes: int = 200_000_000,
    seed: int = 0,
    progress: Progress = QUIET,
) -> Plan:
    """The plan for a data set, on this machine unless another is given."""
    return plan(
        fingerprint(dataset, progress=progress), machine or Machine.here(), dataset=dataset.name,
        classes=dataset.classes, modality=modality or dataset.modality,
        budget_minutes=budget_minutes, most_bytes=most_bytes, seed=seed,
    )  # fmt: skip


def make(
    dataset: Dataset,
    out: str | Path,
    *,
    chosen: Plan | None = None,
    budget_minutes: float | None = None,
    modality: str = "",
    name: str = "",
    version: str = "1",
    licence: str = "",
    training_data: str = "",
    codes: Mapping[str, ClassName] | None = None,
    start: str | Path | None = None,
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    steps: int | None = None,
    overwrite: bool = False,
    keep_weights: bool = True,
    progress: Progress = QUIET,
) -> tuple[NetworkCard, Trained]:
    """Train a model on a data set and write it to ``out`` (a folder, or a file ``.zip``).

    Cases of the split ``test`` are not touched. ``val`` (or, where there is none, one of ``folds``
    parts of the patients) decides when to stop, the threshold and the temperature. A run that was
    killed goes on when it is started again with the same arguments.

    Raises
    ------
    Conflict
        There is a model at ``out`` already, or the same picture on both sides of the split.
    """
    out = Path(out)
    if not overwrite and (out.is_file() or (out / package.CARD).exists()):
        raise Conflict(f"{out} is there already; choose another name or say overwrite")
    chosen = chosen or planned(
        dataset, budget_minutes=budget_minutes, modality=modality, seed=seed, progress=progress
    )
    training, validation = parted(dataset.cases, folds=folds, fold=fold, seed=0)
    leaks = [x for x in duplicates([*training, *validation], progress=progress) if x.exact]
    training = _without(training, validation, leaks)
    weights = _weights(start) if start is not None else None
    ready = samples(training, chosen, progress=progress)
    held = samples(validation, chosen, progress=progress)
    work = out.with_name(f"{out.name}.training")
    trained = train(chosen, ready, held, folder=work, start=weights, steps=steps, progress=progress)
    card = described(chosen, name=name or out.name.removesuffix(".zip"), version=version,
                     licence=licence, training_data=training_data, codes=codes or {},
                     cases=len(training))  # fmt: skip
    graph = export(trained.network, chosen)
    from somascope.learn.calibrate import calibrated

    card = calibrated(card, trained.network, held)
    card = acquainted(card, training, chosen)
    extras = {
        "plan.json": chosen.to_json().encode(),
        "history.json": json.dumps(list(trained.history), indent=1).encode(),
    }
    if keep_weights:
        from safetensors.torch import save

        state = {k: v.contiguous() for k, v in trained.network.state_dict().items()}
        extras[WEIGHTS] = save(state)
    card = package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return card, trained


def _without(training: tuple, validation: tuple, leaks: list[Leak]) -> tuple:  # pyright: ignore
    """The training cases that do not also lie in the validation part."""
    held = {c.id for c in validation}
    bad = {a for x in leaks for a, b in ((x.first, x.second), (x.second, x.first)) if b in held}
    return tuple(c for c in training if c.id not in bad)


def _weights(start: str | Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    from somascope.models import installed

    path = Path(start)
    packed = package.read(path if path.exists() else installed.models().get(str(start), path))
    if WEIGHTS not in packed.extras:
        raise NotFound(f"{start} was kept without its {WEIGHTS}; nothing to go on from")
    try:
        return load(packed.extras[WEIGHTS])
    except Exception as error:
        raise Refused(f"{start}: {WEIGHTS} cannot be read ({error})") from error


def acquainted(card: NetworkCard, cases: Sequence[Case], chosen: Plan) -> NetworkCard:
    """The card with what is usual among the training images, told from `LOOKED_AT` of them."""
    some = [cases[i] for i in np.linspace(0, len(cases) - 1, min(len(cases), LOOKED_AT), dtype=int)]
    known: list[dict[str, float]] = []
    parts: set[str] = set()
    for case in some:  # one image in memory at a time
        image = case.image()
        known.append(familiar.facts(image))
        parts.add(str(image.attributes.get("BodyPartExamined", "")).strip().upper())
        del image
    usual = familiar.learned(
        known, [c.patient for c in some],
        measured=not chosen.fingerprint.pictures, fixed=chosen.preparation.scaling == "range",
        colour=chosen.channels == 3,
    )  # fmt: skip
    return replace(card, familiar=usual, body_parts=() if "" in parts else tuple(sorted(parts)))


def _alike(modality: str) -> tuple[str, ...]:
    """The modalities of such images: a radiograph comes as DX or as CR."""
    return {"OT": (), "DX": ("DX", "CR"), "CR": ("CR", "DX")}.get(modality, (modality,))


def described(
    chosen: Plan,
    *,
    name: str,
    version: str,
    licence: str,
    training_data: str,
    codes: Mapping[str, ClassName],
    cases: int,
) -> NetworkCard:
    """The card of a model made by a plan, its figures still to come."""
    facts = chosen.fingerprint
    how = chosen.preparation
    # Where every image is brought to its own mean, its unit does not matter.
    intensity = (-float("inf"), float("inf"))
    if how.scaling == "range":
        intensity = (how.low - (how.high - how.low), how.high + (how.high - how.low))
    spacing = (0.0, float("inf"))
    if not facts.pictures:
        spacing = (0.5 * facts.spacing_low, 2.0 * facts.spacing_high)
    verb = {"classify": "Classifies", "segment": "Segments", "detect": "Detects",
            "register": "Registers"}[chosen.task]  # fmt: skip
    return NetworkCard(
        name=name, version=version, task=chosen.task,
        summary=f"{verb} {', '.join(chosen.classes) or 'pairs'} (trained on {chosen.dataset})",
        modalities=_alike(chosen.modality),
        dimensions=chosen.dimensions, spacing_mm=spacing,
        licence=licence or "as the training data",
        training_data=training_data or f"{chosen.dataset}, {cases} cases",
        classes=tuple(codes.get(c, ClassName.named(c)) for c in chosen.classes),
        channels=chosen.channels, preparation=chosen.preparation,
        patch=() if chosen.task in ("classify", "detect") else chosen.patch, overlap=0.5,
        stride=chosen.stride, threshold=0.3 if chosen.task == "detect" else 0.5,
        intensity=intensity,
        limits=(f"Made by Somascope {__version__} on {cases} cases of one source.",),
        sha256="0" * 64,
    )  # fmt: skip
