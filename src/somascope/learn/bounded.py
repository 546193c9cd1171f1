"""A limit to what building a network may put into memory, told before it is put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from somascope.core.errors import Refused

_LEAST = 1 << 10
"""Values that every tensor counts for: each is an object besides, and many small ones fill a
memory too."""


class bounded(TorchDispatchMode):  # noqa: N801  a context, written as one
    """Within it operators may make ``most`` values in all; `Refused` before one makes more.

    How many an operator would make is asked of itself, on tensors without memory. Sizes are of
    all that is made, freed or not.
    """

    def __init__(self, most: int, *, what: str) -> None:
        super().__init__()
        self._most, self._left, self._what = most, most, what

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Count, then compute."""
        given = dict(kwargs or {})
        schema = func._schema  # noqa: SLF001  what an operator says of itself has no other name
        shared = schema.is_mutable or any(r.alias_info is not None for r in schema.returns)
        if not shared:
            self._left -= _made(func, args, given)
            if self._left < 0:
                raise Refused(
                    f"{self._what} that is described would hold more than {self._most} values, far "
                    "more than the weights that came with it; they do not belong together"
                )
        return func(*args, **given)


def _made(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Values that an operator would make."""
    bare, named = tree_map_only(torch.Tensor, lambda t: t.to("meta"), (args, kwargs))
    if "device" in named or not any(isinstance(a, torch.Tensor) for a in bare):
        named["device"] = torch.device("meta")
    try:
        found = func(*bare, **named)
    except (RuntimeError, NotImplementedError, TypeError):
        return _LEAST  # its size depends on values (an item, the places that are not zero)
    made = found if isinstance(found, (tuple, list)) else (found,)
    return sum(max(t.numel(), _LEAST) for t in made if isinstance(t, torch.Tensor))
