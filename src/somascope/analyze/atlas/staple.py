"""STAPLE: the truth behind several outlines, and how good each rater is, found together.

Warfield, Zou, Wells, IEEE TMI 23 (2004) 903-921: expectation maximisation of the raters' confusion
(for two labels: sensitivity and specificity) and of the hidden truth. All voxels on which the
raters say the same are one: the sums run over the patterns of answers with their counts, of which
there are few, and are those over all voxels to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

START = 0.99999
"""A rater's chance to be right before anything is known (Warfield's and ITK's)."""

_NEVER = 1e-300


@dataclass(frozen=True, eq=False)
class Performance:
    """What each rater does with each true label.

    ``confusion`` ``(raters, labels, labels)``: chance that a rater says the second where the first
    is true; ``frequency`` ``(labels,)`` of the truth found; ``numbers``: the labels.
    """

    numbers: tuple[int, ...]
    confusion: Float
    frequency: Float

    @property
    def sensitivity(self) -> Float:
        """``(raters, labels)``: chance to find the label where it is."""
        return np.einsum("rll->rl", self.confusion)

    @property
    def specificity(self) -> Float:
        """``(raters, labels)``: chance not to say it where it is not."""
        joint = self.frequency[None, :, None] * self.confusion
        right = np.einsum("rll->rl", joint)
        false = joint.sum(axis=1) - right
        other = 1 - self.frequency
        return 1 - np.divide(false, other, out=np.zeros_like(false), where=other > 0)


@dataclass(frozen=True, eq=False)
class Staple:
    """``labels``: the likeliest ``(nz, ny, nx)``; ``share``: its probability, float32.

    ``probability`` ``(labels, patterns)`` and ``pattern`` ``(nz, ny, nx)``: the whole of it.
    """

    labels: Array
    share: Array
    performance: Performance
    iterations: int
    probability: Float
    pattern: Array

    def planes(self) -> Array:
        """Probability of every label, ``(labels, nz, ny, nx)`` float32."""
        return self.probability.astype(np.float32)[:, self.pattern]


def staple(
    outlines: Sequence[Array] | Array, *, disputed: bool = False, iterations: int = 1000,
    tolerance: float = 1e-9,
) -> Staple:  # fmt: skip
    """The truth that explains the raters' label maps best.

    Parameters
    ----------
    outlines
        ``(raters, nz, ny, nx)`` integers; two raters or more.
    disputed
        Learn from the voxels alone on which not all agree: a wide background makes every rater look
        specific. What all agree on stays as it is.
    iterations, tolerance
        It ends where no chance changes by more than ``tolerance``.

    Raises
    ------
    GeometryError
        Label maps of different shapes.
    ParameterError
        Fewer than two raters, or nothing drawn by any.
    """
    if len(outlines) < 2:
        raise ParameterError(f"STAPLE compares two raters or more and was given {len(outlines)}")
    if len({np.shape(o) for o in outlines}) > 1:
        raise GeometryError(
            f"STAPLE: outlines of {[np.shape(o) for o in outlines]}; bring them to one grid"
        )
    stack = np.stack([np.asarray(o) for o in outlines])
    numbers = np.unique(stack)
    if not numbers.any():
        raise ParameterError("STAPLE: no rater has drawn anything; there is no truth to find")
    raters, labels = len(stack), len(numbers)
    answers, pattern, counts = _patterns(np.searchsorted(numbers, stack).reshape(raters, -1))
    agree = (answers == answers[:1]).all(axis=0)
    counted = np.where(agree, 0.0, counts) if disputed and not agree.all() else counts
    prior = np.zeros(labels)
    for row in answers:
        prior += np.bincount(row, counted, labels)
    prior /= prior.sum()
    theta = np.full((raters, labels, labels), (1 - START) / max(labels - 1, 1))
    theta[:, np.arange(labels), np.arange(labels)] = START
    posterior = _expected(answers, theta, prior)
    turn = 0
    for turn in range(1, iterations + 1):  # noqa: B007  (told in the result)
        new = _confusion(answers, posterior * counted, theta)
        change = float(np.abs(new - theta).max())
        theta = new
        posterior = _expected(answers, theta, prior)
        if change < tolerance:
            break
    if disputed:
        posterior[:, agree] = np.eye(labels)[:, answers[0][agree]]
    frequency = (posterior * counted).sum(axis=1)
    performance = Performance(tuple(int(n) for n in numbers), theta, frequency / frequency.sum())
    first = posterior.argmax(axis=0)
    shape = stack.shape[1:]
    return Staple(
        numbers[first][pattern].reshape(shape).astype(stack.dtype),
        posterior.max(axis=0).astype(np.float32)[pattern].reshape(shape),
        performance, turn, posterior, pattern.reshape(shape),
    )  # fmt: skip


def _patterns(index: Array) -> tuple[Array, Array, Float]:
    """Different answers ``(raters, patterns)``, the pattern of each voxel, and their counts."""
    raters = len(index)
    labels = int(index.max()) + 1
    if raters * np.log2(max(labels, 2)) < 62:
        code = np.zeros(index.shape[1], np.int64)
        for row in index:
            code *= labels
            code += row
        # Most voxels are alike for all raters: only the rest is sorted.
        plain = (index == index[:1]).all(axis=0)
        pattern = np.empty(code.size, np.int64)
        same, inverse, n = np.unique(index[0][plain], return_inverse=True, return_counts=True)
        pattern[plain] = inverse
        found, inverse, m = np.unique(code[~plain], return_inverse=True, return_counts=True)
        pattern[~plain] = inverse + same.size
        digits = np.stack([found // labels ** (raters - 1 - r) % labels for r in range(raters)])
        answers = np.concatenate([np.tile(same, (raters, 1)), digits], axis=1)
        return answers.astype(np.int64), pattern, np.concatenate([n, m]).astype(np.float64)
    answers, inverse, n = np.unique(index, axis=1, return_inverse=True, return_counts=True)
    return answers.astype(np.int64), inverse.reshape(-1), n.astype(np.float64)


def _expected(answers: Array, theta: Float, prior: Float) -> Float:
    """Chance of each true label behind each pattern, ``(labels, patterns)``."""
    logs = np.log(np.maximum(prior, _NEVER))[:, None] + np.zeros((1, answers.shape[1]))
    for row, chances in zip(answers, theta, strict=True):
        logs += np.log(np.maximum(chances, _NEVER))[:, row]
    chance = np.exp(logs - logs.max(axis=0))
    return chance / chance.sum(axis=0)


def _confusion(answers: Array, weight: Float, before: Float) -> Float:
    """What each rater said where each label is held true; as before where none is."""
    labels = len(weight)
    total = weight.sum(axis=1)
    new = before.copy()
    for r, row in enumerate(answers):
        for true in np.flatnonzero(total > 0):
            new[r, true] = np.bincount(row, weight[true], labels) / total[true]
    return new
