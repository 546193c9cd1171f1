"""Whether a value is a torch tensor, asked without importing torch.

Functions take NumPy arrays and torch tensors alike; the modules named ``gpu.py`` hold what is done
with tensors, and are imported when the first one comes. Who uses arrays only never loads torch.
"""

from __future__ import annotations

import sys


def is_tensor(values: object) -> bool:
    """Whether ``values`` is a ``torch.Tensor``."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)
