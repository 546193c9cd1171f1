"""Several looks at one image: by several models, and by each at the mirrored image too.

The mean of what they say is better than one of them (Hansen and Salamon, IEEE PAMI 12, 1990); how
far they are apart says how much to trust it. With one model and no mirror nothing is averaged, and
what is left is the doubt of that model alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from somascope.core import QUIET, Finding, Image, Label, Mask, Progress
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.models import segment
from somascope.models.card import NetworkCard
from somascope.models.classify import decided, probabilities
from somascope.models.prepare import towards
from somascope.models.run import Network
from somascope.models.seen import history, instances


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

    Raises
    ------
    ParameterError
        No member, other tasks or classes than the first, or another axis.
    """

    def __init__(self, members: Sequence[Network], *, mirror: str = "") -> None:
        if not members:
            raise ParameterError("no model is given; give one or more")
        first = members[0].card
        for other in (m.card for m in members):
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
        self.members = tuple(members)
        self._mirrors = [tuple("zyx".index(a) for a in some) for some in _subsets(mirror)]

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
        total, done = len(self.members) * len(self._mirrors), 0
        for member in self.members:
            shown = member.card.declared(image)
            member.card.check(shown, anyway=anyway)
            for axes in self._mirrors:
                progress(done / total, member.card.name)
                yield _said(member, shown, axes)
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
            "looks": len(self.members) * len(self._mirrors),
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


def _said(member: Network, image: Image, axes: tuple[int, ...]) -> Array:
    """Probabilities at the image mirrored along axes of its grid nearest to the patient's."""
    at = tuple(image.data.ndim - 3 + a for a in _own(image, axes))
    shown = replace(image, data=np.flip(image.data, at)) if at else image
    if member.card.task == "classify":
        return probabilities(member.card, member.engine, shown)
    _, p = segment.answer(member.card, member.engine, shown, probabilities=True)
    assert p is not None
    whole = np.concatenate([1 - p.sum(axis=0, keepdims=True), p]).clip(0, 1)
    return np.flip(whole, tuple(1 + a for a in _own(image, axes))) if axes else whole


def _own(image: Image, axes: tuple[int, ...]) -> list[int]:
    """The grid's axes that run most along head, back and left of the patient."""
    if image.grid.shape[0] == 1:
        return list(axes)
    order = towards(image.grid)
    return [order[a] for a in axes]
