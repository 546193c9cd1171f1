"""What is known about how good a registration is, and whether to trust it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from somascope.core.finding import Warp
from somascope.core.grid import Array


@dataclass(frozen=True)
class Verdict:
    """The evidence, and the judgement in words.

    ``before`` and ``after``: similarity with the images as they lie, and registered (local
    correlation and normalised mutual information); ``peak``: share of the structure that agrees
    better here than shifted to any side (`landscape`); ``overlap``: share of the fixed foreground
    that has a value; ``inverse_error``: mm from going there and back (mean, 99 %); ``folding``:
    share of voxels with a Jacobian below zero; ``jacobian``: its 1 and 99 % and least values;
    ``landmarks``: mean distance in mm before and after, where landmarks were given;
    ``notes``: what the caller should know, trusted or not.
    """

    trusted: bool = True
    reasons: tuple[str, ...] = ()
    before: dict[str, float] = field(default_factory=dict[str, float])
    after: dict[str, float] = field(default_factory=dict[str, float])
    peak: float = 1.0
    overlap: float = 1.0
    inverse_error: tuple[float, float] = (0.0, 0.0)
    folding: float = 0.0
    jacobian: tuple[float, float, float] = (1.0, 1.0, 1.0)
    landmarks: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """0.1 where not to be trusted, else the local correlation reached (0.5 to 1)."""
        if not self.trusted:
            return 0.1
        return min(max(self.after.get("local_correlation", 1.0), 0.5), 1.0)

    @property
    def words(self) -> str:
        """One sentence."""
        return "trusted" if self.trusted else "do not trust: " + "; ".join(self.reasons)

    @property
    def text(self) -> str:
        """`words`, then the numbers behind them, a line each."""
        said = {"local_correlation": "local correlation", "information": "mutual information"}
        lines = [self.words]
        lines += [
            f"{name}: {self.before[key]:.3f} before, {self.after[key]:.3f} after"
            for key, name in said.items()
            if key in self.before and key in self.after
        ]
        lines.append(f"structure that agrees best where it is: {self.peak:.0%}")
        lines.append(f"structure with a counterpart: {self.overlap:.0%}")
        if self.jacobian != (1.0, 1.0, 1.0):
            low, high, _ = self.jacobian
            lines.append(f"volume change: {low:.2f} to {high:.2f}, folding {self.folding:.3%}")
            lines.append(f"there and back: {self.inverse_error[0]:.2f} mm")
        if self.landmarks is not None:
            start, end = self.landmarks
            lines.append(f"landmarks: {start:.1f} mm apart before, {end:.1f} mm after")
        return "\n".join([*lines, *self.notes])

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "words": self.words}


@dataclass(frozen=True, kw_only=True, eq=False)
class Registered(Warp):
    """A warp as `register` gives it: with its inverse and the verdict.

    ``backward``: displacement ``(3, nz, ny, nx)`` of the inverse in LPS mm on ``grid``, in the
    fixed frame before the inverse matrix: ``fixed = y' + backward(y')``, ``y' = matrix^-1
    moving``; ``None`` for an affine one. ``preset``: what was chosen.
    """

    backward: Array | None = None
    verdict: Verdict = field(default_factory=Verdict)
    preset: str = ""
