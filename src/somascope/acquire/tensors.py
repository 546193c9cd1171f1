"""Whether a value is a torch tensor: `somascope.core.tensors`, where operators look for it."""

from somascope.core.tensors import is_tensor

__all__ = ["is_tensor"]
