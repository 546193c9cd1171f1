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
from somascope.core.errors import Conflict, NotFound, ParameterError, Refused
from somascope.learn.beginning import begun, unlabelled_samples
from somascope.learn.curves import Watch
from somascope.learn.datasets import Case, Dataset, parted
from somascope.learn.datasets.sequences import in_slices
from somascope.learn.export import export
from somascope.learn.fingerprint import Leak, duplicates, fingerprint
from somascope.learn.objects import overlap
from somascope.learn.parallel import team
from somascope.learn.plan import Machine, Plan, plan
from somascope.learn.readers import reading, thick
from somascope.learn.regained import folded, regained
from somascope.learn.tasks import samples
from somascope.learn.tasks.detect import assured
from somascope.learn.train import Trained
from somascope.models import familiar, package
from somascope.models.card import ClassName, NetworkCard

WEIGHTS = "weights.safetensors"
HURRIED = 10
"""Times as many steps as were done that the data bears: below, the card says so."""
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
    facts = fingerprint(dataset, progress=progress)
    made = plan(
        facts, machine or Machine.here(), dataset=dataset.name, classes=dataset.classes,
        modality=modality or dataset.modality, budget_minutes=budget_minutes,
        most_bytes=most_bytes, seed=seed,
    )  # fmt: skip
    return reading(made) if made.task == "classify" and not facts.single and thick(facts) else made


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
    unlabelled: str | Path | None = None,
    pretrain: str = "",
    few_shot: bool = False,
    memory: str = "",
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    steps: int | None = None,
    last: bool = False,
    overwrite: bool = False,
    keep_weights: bool = True,
    thumbnails: bool = False,
    watch: Watch | None = None,
    progress: Progress = QUIET,
) -> tuple[NetworkCard, Trained]:
    """Train a model on a data set and write it to ``out`` (a folder, or a file ``.zip``).

    Cases of the split ``test`` are not learned from. ``val`` (or, where there is none, one of
    ``folds`` parts of the patients) decides when to stop, the threshold and the temperature. A run
    that was killed goes on when it is started again with the same arguments.

    Parameters
    ----------
    unlabelled, pretrain, few_shot
        A folder of more images, and what to do with them and with ``start``: `beginning.begun`.
    memory
        Read slices or frames in order with this memory: `readers.reading`.
    last
        Keep the last weights, whichever were best on the validation part.
    thumbnails
        Keep small pictures of the prototypes in the model; they show patients.
    watch
        Is told loss and figures while they come: `curves.watching`.

    Raises
    ------
    Conflict
        There is a model at ``out`` already, or the same picture on both sides of the split.
    """
    out = Path(out)
    if not overwrite and (out.is_file() or (out / package.CARD).exists()):
        raise Conflict(f"{out} is there already; choose another name or say overwrite")
    dataset, films = in_slices(dataset)
    chosen = chosen or planned(
        dataset, budget_minutes=budget_minutes, modality=modality, seed=seed, progress=progress
    )
    if chosen.single is not None and (memory or unlabelled or pretrain):
        raise ParameterError(
            "single objects are learned from their labels alone: not with memory, pretrain or "
            "unlabelled images"
        )
    chosen = reading(chosen, memory=memory) if memory else chosen
    training, validation = parted(dataset.cases, folds=folds, fold=fold, seed=0)
    leaks = [x for x in duplicates([*training, *validation], progress=progress) if x.exact]
    training = _without(training, validation, leaks)
    weights = weights_of(start) if start is not None else None
    ready = samples(training, chosen, progress=progress)
    held = samples(validation, chosen, progress=progress)
    work = out.with_name(f"{out.name}.training")
    more = []
    if unlabelled:
        away = [*validation, *dataset.of("test")]
        more = unlabelled_samples(unlabelled, chosen, away, progress=progress)
    trained = begun(
        chosen, ready, held, weights=weights, unlabelled=more, pretrain=pretrain, few=few_shot,
        folder=work, steps=steps, last=last, watch=watch, progress=progress,
    )  # fmt: skip
    card = described(chosen, name=name or out.name.removesuffix(".zip"), version=version,
                     licence=licence, training_data=training_data, codes=codes or {},
                     cases=len(training))  # fmt: skip
    graph = export(trained.network, chosen)
    from somascope.learn.calibrate import calibrated
    from somascope.learn.prototypes import prototypes

    card = calibrated(card, trained.network, held)
    if chosen.task == "detect":
        card = assured(card, trained.network, held, chosen)
    card = replace(acquainted(card, training, chosen), frames=films)
    if not few_shot and HURRIED * trained.steps < chosen.most_steps:
        hurried = (
            f"Trained for {trained.steps} steps, of {chosen.most_steps} that the data bears: a "
            "larger budget would teach it more."
        )
        card = replace(card, limits=(*card.limits, hurried))
    if more:
        card = replace(
            card, training_data=f"{card.training_data}; {len(more)} images without labels"
        )
    extras = {
        "plan.json": chosen.to_json().encode(),
        "history.json": json.dumps(list(trained.history), indent=1).encode(),
    }
    if keep_weights:
        from safetensors.torch import save

        state = {k: v.contiguous() for k, v in trained.network.state_dict().items()}
        extras[WEIGHTS] = save(state)
        extras[package.PROTOTYPES] = prototypes(
            trained.network, ready, pictures=thumbnails, channels=chosen.channels
        ).to_bytes()
    if not team().first:  # one of several processes writes
        return card, trained
    card = package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return card, trained


def _without(training: tuple, validation: tuple, leaks: list[Leak]) -> tuple:  # pyright: ignore
    """The training cases that do not also lie in the validation part."""
    held = {c.id for c in validation}
    bad = {a for x in leaks for a, b in ((x.first, x.second), (x.second, x.first)) if b in held}
    pictures = {id(c.image) for c in training if c.id in bad}  # with all objects of them
    return tuple(c for c in training if id(c.image) not in pictures)


def weights_of(start: str | Path) -> dict[str, torch.Tensor]:
    """The weights of a model (its path, or the name of an installed one) by name.

    Of a committee those of its first member, under the names they have alone. A model that was kept
    without weights gives those of its graph.

    Raises
    ------
    NotFound
        It was kept without them, and they cannot be told from its graph.
    Refused
        They cannot be read.
    """
    from safetensors.torch import load

    from somascope.models import installed

    path = Path(start)
    packed = package.read(path if path.exists() else installed.models().get(str(start), path))
    if WEIGHTS in packed.extras:
        try:
            found = load(packed.extras[WEIGHTS])
        except Exception as error:
            raise Refused(f"{start}: {WEIGHTS} cannot be read ({error})") from error
    elif "plan.json" in packed.extras:
        network = regained(packed.graph, Plan.from_json(packed.extras["plan.json"]))
        if folded(network):
            raise NotFound(f"{start} was kept without its {WEIGHTS}, and its graph has batch "
                           "normalisation folded away; nothing to go on from")  # fmt: skip
        found = network.state_dict()
    else:
        raise NotFound(f"{start} was kept without its {WEIGHTS}; nothing to go on from")
    own = "members.0."
    if any(k.startswith(own) for k in found):
        return {k.removeprefix(own): v for k, v in found.items() if k.startswith(own)}
    return found


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
    whole = chosen.task == "classify" or (chosen.task == "detect" and chosen.dimensions == 2)
    verb = {"classify": "Classifies", "segment": "Segments", "detect": "Detects",
            "register": "Registers"}[chosen.task]  # fmt: skip
    what = "cases" if chosen.single is None else "objects"
    if chosen.single is not None:
        verb += " single objects:"
    return NetworkCard(
        name=name, version=version, task=chosen.task,
        summary=f"{verb} {', '.join(chosen.classes) or 'pairs'} (trained on {chosen.dataset})",
        modalities=_alike(chosen.modality),
        dimensions=chosen.dimensions, spacing_mm=spacing,
        licence=licence or "as the training data",
        training_data=training_data or f"{chosen.dataset}, {cases} {what}",
        classes=tuple(codes.get(c, ClassName.named(c)) for c in chosen.classes),
        channels=chosen.channels, preparation=chosen.preparation,
        patch=() if whole else chosen.patch,
        overlap=overlap(facts, how, chosen.patch) if chosen.task == "detect" else 0.5,
        stride=chosen.stride, threshold=0.3 if chosen.task == "detect" else 0.5,
        intensity=intensity,
        limits=(f"Made by Somascope {__version__} on {cases} {what} of one source.",),
        single=chosen.single, sha256="0" * 64,
    )  # fmt: skip
