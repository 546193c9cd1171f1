"""What is known about a model from elsewhere: said by its files, and by the user, who is right."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from somascope.core.errors import ParameterError
from somascope.models.card import TASKS, ClassName, NetworkCard
from somascope.models.prepare import Preparation, Scaling

Answer: TypeAlias = Literal["logits", "probabilities", "sigmoid", "probability"]
"""What a network says: a logit or a probability of each class, or one of the only class."""

_ALONG = {"S": 0, "I": 0, "P": 1, "A": 1, "L": 2, "R": 2}
_AGAINST = "IAR"


@dataclass(frozen=True, kw_only=True)
class Told:
    """Facts about a model; None is not known.

    Parameters
    ----------
    axes
        Of the network's input: ``zyx`` or ``xyz`` as the file stores the volume, or the letters
        towards which they rise, such as ``RAS``; in 2-D ``yx`` or ``xy``.
    patch, spacing, size
        In the order of ``axes``; ``size`` of the input of a classifier.
    scaling, low, high
        As in `Preparation`.
    gain, shift
        Then times ``gain`` and plus ``shift``.
    answer
        What the network says.
    output
        Name of the output to take; the first one.
    """

    name: str | None = None
    version: str | None = None
    task: str | None = None
    summary: str | None = None
    classes: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    dimensions: int | None = None
    channels: int | None = None
    axes: str | None = None
    patch: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    scaling: Scaling | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    shift: float | None = None
    answer: Answer | None = None
    output: str | None = None
    overlap: float | None = None
    threshold: float | None = None
    licence: str | None = None
    training_data: str | None = None
    intended_use: str | None = None
    limits: tuple[str, ...] | None = None

    def over(self, other: Told) -> Told:
        """What is told here, and what ``other`` tells beyond it."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{k: v for k, v in own.items() if v is not None})

    def check(self) -> None:
        """Raise `ParameterError` for the first thing that is missing or cannot be."""
        if self.task is None:
            raise ParameterError(f"nothing says what the model does; give --task: "
                                 f"{', '.join(TASKS)}")  # fmt: skip
        if self.task not in ("classify", "segment", "detect"):
            raise ParameterError(f"task is {self.task!r}; models to classify, segment or detect "
                                 "are imported from elsewhere")  # fmt: skip
        if self.dimensions not in (2, 3):
            raise ParameterError(f"dimensions is {self.dimensions}; give --dimensions 2 or 3")
        if self.channels not in (1, 3):
            raise ParameterError(f"the network reads {self.channels} channels; models of one image "
                                 "(1, or 3 colours) are run here")  # fmt: skip
        if self.scaling is None:
            raise ParameterError("nothing says how values are scaled; give --scaling "
                                 f"{', '.join(get_args(Scaling))}")  # fmt: skip
        if self.answer not in get_args(Answer):
            raise ParameterError(f"answer is {self.answer!r}; give --answer "
                                 f"{', '.join(get_args(Answer))}")  # fmt: skip
        for what in ("patch", "size", "spacing"):
            given = getattr(self, what)
            if given is not None and (len(given) != self.dimensions or min(given) <= 0):
                raise ParameterError(f"{what} is {given}; give {self.dimensions} positive numbers "
                                     f"in the order {self.axes}")  # fmt: skip
        numbers = (self.low, self.high, self.gain, self.shift, self.overlap, self.threshold)
        for value in (*numbers, *(self.spacing or ())):
            if value is not None and not math.isfinite(value):
                raise ParameterError(f"{value} is no number to prepare an image with")
        turns(self.axes or "", self.dimensions)

    @property
    def ours(self) -> tuple[int, ...]:
        """For each axis of the network, which one of ours (z, y, x or y, x) it is."""
        return turns(self.axes or "", self.dimensions or 3)[0]

    def in_order(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Numbers in the order of the network's axes, in the order of ours."""
        found = [values[0]] * len(values)
        for value, own in zip(values, self.ours, strict=True):
            found[own] = value
        return tuple(found)

    def card(self, *, origin: str) -> NetworkCard:
        """The card; its digest comes with the package. Call `check` before."""
        assert self.task is not None
        assert self.dimensions is not None
        assert self.scaling is not None
        flat = self.dimensions == 2
        spacing = self.in_order(self.spacing) if self.spacing else ()
        size = self.in_order(self.size) if self.size and self.task == "classify" else ()
        how = Preparation(
            orient=not flat and (self.axes or "zyx").isupper(),
            spacing=(spacing[0], *spacing) if flat and spacing else spacing,
            size=(1, *size) if flat and size else size,
            scaling=self.scaling, low=0.0 if self.low is None else self.low,
            high=1.0 if self.high is None else self.high,
        )  # fmt: skip
        if how.scaling == "range" and not how.low < how.high:
            raise ParameterError(f"values of {how.low:g} to {how.high:g} are no range; give "
                                 "--range LOW,HIGH")  # fmt: skip
        named = tuple(ClassName.named(c) for c in self.classes or ())
        patch = self.in_order(self.patch) if self.patch and self.task == "segment" else ()
        return NetworkCard(
            name=self.name or f"{self.task}.{Path(origin).stem}", version=self.version or "1",
            task=self.task, summary=self.summary or f"Imported from {origin}",
            modalities=self.modalities or (), dimensions=self.dimensions,
            spacing_mm=(0.0, math.inf), licence=self.licence or "",
            training_data=self.training_data or "not told", classes=named,
            channels=self.channels or 1, preparation=how, patch=patch,
            overlap=0.5 if self.overlap is None else self.overlap,
            threshold=0.5 if self.threshold is None else self.threshold,
            intended_use=self.intended_use or NetworkCard.intended_use,
            limits=(f"Imported from {origin}; not evaluated here", *(self.limits or ())),
        )  # fmt: skip


def turns(axes: str, dimensions: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each axis of a network: which one of ours it is, and whether it runs against it.

    Raises
    ------
    ParameterError
        Not axes of an image.
    """
    if dimensions == 2:
        known = {"": (0, 1), "yx": (0, 1), "xy": (1, 0)}
        if axes not in known:
            raise ParameterError(f"axes is {axes!r}; in 2-D give yx or xy")
        return known[axes], (False, False)
    if axes in ("", "zyx", "xyz"):
        return ((2, 1, 0) if axes == "xyz" else (0, 1, 2)), (False, False, False)
    order = tuple(_ALONG.get(a, -1) for a in axes)
    if sorted(order) != [0, 1, 2]:
        raise ParameterError(f"axes is {axes!r}; give zyx, xyz, or three letters such as RAS or "
                             "SPL: right/left, anterior/posterior, superior/inferior")  # fmt: skip
    return order, tuple(a in _AGAINST for a in axes)
