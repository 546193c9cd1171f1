"""`Dataset`: cases with their truth, loaded when asked for, and whose they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from somascope.core import Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


@dataclass(frozen=True)
class Case:
    """One example.

    Parameters
    ----------
    id
        Its name, unique in the data set.
    patient
        Whose it is: cases of one patient are never on both sides of a split.
    split
        ``train``, ``val`` or ``test`` where the data set says so, else empty.
    image
        Loads the image (``register``: the fixed one).
    label
        Class number (classify).
    mask
        Loads the label map ``(z, y, x)`` of class numbers, 0 background, on the image's grid.
    region
        Loads ``(z, y, x)`` bool: where the truth counts (a field of view).
    boxes
        ``(n, 5)``: y0, x0, y1, x1 (pixel edges) and class number; of volumes ``(n, 7)``: z0, y0,
        x0, z1, y1, x1 and class number (detect).
    box
        Of a case that is one object of its image: its corners, as those of ``boxes`` (classify).
    moving
        Loads the moving image (register).
    moving_mask
        Loads its label map.
    groups
        What the data set says of it (``sex``, ``site``), for figures of groups.
    """

    id: str
    patient: str
    image: Callable[[], Image]
    split: str = ""
    label: int = -1
    mask: Callable[[], Array] | None = None
    region: Callable[[], Array] | None = None
    boxes: Float | None = None
    box: Float | None = None
    moving: Callable[[], Image] | None = None
    moving_mask: Callable[[], Array] | None = None
    groups: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Dataset:
    """Cases of one task, and the names of the classes (segment: without the background)."""

    name: str
    task: str
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    modality: str = "OT"

    def of(self, *splits: str) -> tuple[Case, ...]:
        """The cases of these splits."""
        return tuple(c for c in self.cases if c.split in splits)

    def only(self, cases: Sequence[Case]) -> Dataset:
        """The same data set with these cases."""
        return replace(self, cases=tuple(cases))


def patients(names: Sequence[str]) -> list[str]:
    """Whose each file is, told from the names: the shortest start, up to a number, that repeats.

    ``SC-HF-I-04-IM-0001-0040`` belongs to ``SC-HF-I-04`` when such starts make five groups or more
    of two files or more on average; where no start does, every file is a patient of its own.
    """
    parts = [re.split(r"([-_ .()]+)", n) for n in names]
    deepest = min((len(p) for p in parts), default=0)
    for depth in range(1, deepest, 2):
        starts = ["".join(p[:depth]) for p in parts]
        numbered = all(re.search(r"\d", p[depth - 1]) for p in parts)
        groups = Counter(starts)
        if numbered and len(groups) >= 5 and len(names) >= 2 * len(groups):
            return starts
    return list(names)


def parted(
    cases: Sequence[Case], *, folds: int = 5, fold: int = 0, seed: int = 0
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Training and validation cases, parted by patient.

    An official ``val`` split is taken as it is for ``fold`` 0. Cases of ``test`` are in neither.

    Raises
    ------
    ParameterError
        Fewer patients than folds.
    """
    usable = [c for c in cases if c.split != "test"]
    official = [c for c in usable if c.split == "val"]
    if official and fold == 0:
        return tuple(c for c in usable if c.split != "val"), tuple(official)
    names = sorted({c.patient for c in usable})
    if len(names) < folds:
        raise ParameterError(
            f"{len(names)} patients cannot be parted into {folds} folds; give more cases"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    held = {names[i] for i in order[fold::folds]}
    return (
        tuple(c for c in usable if c.patient not in held),
        tuple(c for c in usable if c.patient in held),
    )
