"""Several looks at one image: by several models, by each at the mirrored image too, and by each
with parts of its network switched off.

The mean of what they say is better than one of them (Hansen and Salamon, IEEE PAMI 12, 1990); how
far they are apart says how much to trust it. With one model and no mirror nothing is averaged, and
what is left is the doubt of that model alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from somascope.core import QUIET, Finding, Image, Label, Mask, Progress
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.models import segment
from somascope.models.card import NetworkCard
from somascope.models.classify import decided, probabilities
from somascope.models.engine import Engine, Kind
from somascope.models.package import CARD
from somascope.models.prepare import towards
from somascope.models.run import Network, load
from somascope.models.seen import history, instances

MOST_DRAWS = 1000


@dataclass(frozen=True)
class Opinion:
    """What was said together, and the doubts about it.

    Parameters
    ----------
    mean
        Probabilities ``(classes, ...)``; of a segmentation the background is first.
    doubt
        Entropy of the mean, 0 (certain) to 1 (every class alike).
    quarrel
        The part of that doubt which is disagreement: entropy of the mean less the mean entropy
        (Depeweg et al., ICML 2018). 0 where all say the same, however doubtful.
    """

    mean: Array
    doubt: Array
    quarrel: Array


def opinion(looks: Iterable[Array]) -> Opinion:
    """Of probabilities ``(classes, ...)`` that add up to one; no look is kept."""
    none: Array = np.zeros((), np.float16)  # sums have the type of the looks
    total, entropy, count = none, none, 0
    for p in looks:
        total, entropy, count = total + p, entropy + _entropy(p), count + 1
        del p
    if not count:
        raise ParameterError("no look is given; give one or more")
    mean = total / count
    most = np.log(len(mean))
    doubt = _entropy(mean) / most
    return Opinion(mean, doubt, np.maximum(doubt - entropy / count / most, 0))


def map_of(image: Image, values: Array) -> Image:
    """A number for every voxel of ``image`` as an image: in DICOM a Parametric Map."""
    # What the image says of its shades is not said of the map.
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    attributes["ImageType"] = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    data = values.astype(np.float32)
    return replace(image, data=data, axes=(), unit="1", attributes=attributes)


def gathered(names: Sequence[str | Path], *, kind: Kind = "auto") -> list[Network]:
    """Models by name or path; a folder of cross-validation (``fold-1``...) gives all of its folds.

    Raises
    ------
    NotFound
        A name that is neither.
    """
    found: list[Network] = []
    for name in names:
        path = Path(name)
        folds = sorted(p.parent for p in path.glob("fold-*/card.json")) if path.is_dir() else []
        whole = not folds or (path / CARD).is_file()
        found += [load(name, kind=kind)] if whole else [load(f, kind=kind) for f in folds]
    return found


def _entropy(p: Array) -> Float:
    return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=0)


class Together:
    """Models of one task and the same classes as one (a `somascope.core.Model`).

    Parameters
    ----------
    members
        To classify or to segment; the first one's card speaks for all.
    mirror
        Axes of the patient, of ``z y x`` (head, back, left), along which every member looks at the
        mirrored image too. Only for what has no left and right, or for members trained mirrored.
    dropout
        Number of draws of every member's dropouts (Monte Carlo dropout) that look in the place of
        the whole network; 0: the whole network looks once.
    seed
        Of these draws.

    Raises
    ------
    ParameterError
        No member, other tasks or classes than the first, another axis, or draws from a member
        without dropout.
    """

    def __init__(
        self, members: Sequence[Network], *, mirror: str = "", dropout: int = 0, seed: int = 0
    ) -> None:
        if not members:
            raise ParameterError("no model is given; give one or more")
        first = members[0].card
        for other in (m.card for m in members):
            if other.stages is not None:
                raise ParameterError(f"{other.name} has two stages and tells no probabilities to "
                                     "average; ask it alone")  # fmt: skip
            if other.task not in ("classify", "segment"):
                raise ParameterError(
                    f"{other.name} is a model to {other.task}; only answers to classify and to "
                    "segment are averaged"
                )
            if (other.task, other.classes) != (first.task, first.classes):
                raise ParameterError(f"{other.name} has another task or other classes than "
                                     f"{first.name}")  # fmt: skip
        allowed = "zyx" if first.dimensions == 3 else "yx"
        if set(mirror) - set(allowed):
            raise ParameterError(f"mirror is {mirror!r}; give some of {allowed!r}")
        if not 0 <= dropout <= MOST_DRAWS:
            raise ParameterError(f"dropout is {dropout}; give 0 to {MOST_DRAWS} draws")
        self.members = tuple(members)
        self._seeds = [seed + i for i in range(dropout)]
        for member in self.members if dropout else ():
            member.thinned(seed)  # told now, not in the middle
        self._mirrors = [tuple("zyx".index(a) for a in some) for some in _subsets(mirror)]

    @property
    def looks(self) -> int:
        """How often an image is looked at."""
        return len(self.members) * len(self._mirrors) * max(len(self._seeds), 1)

    @property
    def card(self) -> NetworkCard:
        """Of the first member, under the names of all."""
        names = " + ".join(dict.fromkeys(m.card.name for m in self.members))
        return replace(self.members[0].card, name=names)

    def look(self, image: Image, *, anyway: bool = False, progress: Progress = QUIET) -> Opinion:
        """Every member at every mirrored image; a segmentation's maps lie on the image's grid."""
        found = opinion(self._looks(image, anyway=anyway, progress=progress))
        progress(1.0)
        return found

    def _looks(self, image: Image, *, anyway: bool, progress: Progress) -> Iterator[Array]:
        done = 0
        for member in self.members:
            shown = member.card.declared(image)
            member.card.check(shown, anyway=anyway)
            for seed in self._seeds or [None]:
                engine = member.engine if seed is None else member.thinned(seed)
                for axes in self._mirrors:
                    progress(done / self.looks, member.card.name)
                    yield _said(member.card, engine, shown, axes)
                    done += 1

    def __call__(
        self, *images: Image, anyway: bool = False, progress: Progress = QUIET
    ) -> list[Finding]:
        """One `Label` or one `Mask`; the mean doubt and quarrel are in its provenance."""
        if len(images) != 1:
            raise Refused(f"{self.card.name} reads 1 image at a time; {len(images)} given")
        image, card = images[0], self.card
        found = self.look(image, anyway=anyway, progress=progress)
        past = history(card, image)
        step = past.steps[-1]
        more = {
            "looks": self.looks,
            "doubt": round(float(found.doubt.mean()), 5),
            "quarrel": round(float(found.quarrel.mean()), 5),
        }
        past = replace(
            past, steps=(*past.steps[:-1], replace(step, params={**step.params, **more}))
        )
        attributes = dict(image.attributes)
        if card.task == "classify":
            best = decided(card, found.mean)
            named = {c.name: float(v) for c, v in zip(card.classes, found.mean, strict=True)}
            return [
                Label(
                    concept=card.classes[best].code, confidence=float(found.mean[best]),
                    on=instances(image), probabilities=named, provenance=past,
                    attributes=attributes,
                )
            ]  # fmt: skip
        kind = np.min_scalar_type(len(card.classes))  # unsigned; 0 is the background
        return [
            Mask(
                data=segment.decide(card, found.mean).astype(kind), grid=image.grid,
                segments=segment.segments(card), on=instances(image), provenance=past,
                attributes=attributes,
            )
        ]  # fmt: skip


def _subsets(axes: str) -> Iterator[tuple[str, ...]]:
    names = "".join(dict.fromkeys(axes))
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


def _said(card: NetworkCard, engine: Engine, image: Image, axes: tuple[int, ...]) -> Array:
    """Probabilities at the image mirrored along axes of its grid nearest to the patient's."""
    at = tuple(image.data.ndim - 3 + a for a in _own(image, axes))
    shown = replace(image, data=np.flip(image.data, at)) if at else image
    if card.task == "classify":
        return probabilities(card, engine, shown)
    _, p = segment.answer(card, engine, shown, probabilities=True)
    assert p is not None
    whole = np.concatenate([1 - p.sum(axis=0, keepdims=True), p]).clip(0, 1)
    return np.flip(whole, tuple(1 + a for a in _own(image, axes))) if axes else whole


def _own(image: Image, axes: tuple[int, ...]) -> list[int]:
    """The grid's axes that run most along head, back and left of the patient."""
    if image.grid.shape[0] == 1:
        return list(axes)
    order = towards(image.grid)
    return [order[a] for a in axes]
