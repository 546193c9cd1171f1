"""Several networks as one: the mean of what they say, in one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from torch import nn

from somascope.core.errors import ParameterError


class Committee(nn.Module):
    """The mean of its members' probabilities, each of them asked at mirror images too.

    The mean is better than one of them (Hansen and Salamon, IEEE PAMI 12, 1990), and surer of
    nothing that they quarrel about. To classify or to segment.

    Parameters
    ----------
    members
        What `build` makes each of; all with the same inputs and outputs.
    mirror
        Axes of space (0 is the first) along which each looks at the mirrored image as well. Only
        where they were trained so, and left is no other class than right.
    """

    def __init__(self, *, members: Sequence[Mapping[str, Any]], mirror: Sequence[int] = ()) -> None:
        from somascope.learn.networks import build

        super().__init__()
        if len(set(mirror)) < len(mirror) or not set(mirror) <= {0, 1, 2}:
            raise ParameterError(f"mirror is {list(mirror)[:9]}; give axes, 0 to 2, each once")
        if any(m.get("kind") == "committee" for m in members):
            raise ParameterError("a member of a committee is a committee; join their members")
        self.members = nn.ModuleList(build(m) for m in members)
        self.views = tuple(
            tuple(2 + a for a in some)
            for some in chain.from_iterable(combinations(mirror, n) for n in range(len(mirror) + 1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the mean probabilities, ``(n, outputs)`` or ``(n, outputs, ...)``, mean 0."""
        seen = torch.cat([x.flip(axes) if axes else x for axes in self.views])
        total = torch.zeros(())
        for member in self.members:  # all views in one pass, so that the graph has it once
            parts = member(seen).softmax(dim=1).chunk(len(self.views))
            for axes, p in zip(self.views, parts, strict=True):
                total = total + (p.flip(axes) if axes and p.ndim == x.ndim else p)
        count = len(self.members) * len(self.views)
        logs = (total / count).clamp_min(1e-7).log()
        return logs - logs.mean(dim=1, keepdim=True)
