"""Models that others made: MONAI bundles, nnU-Net folders, plain graphs and weights.

What is read of them are settings (JSON), graphs (ONNX) and weights (safetensors). Nothing in them
is executed and nothing is unpickled; `taken` refuses the rest by name and says what to do.
"""

from __future__ import annotations

from somascope.models.foreign.found import Found, finished, taken
from somascope.models.foreign.told import Told

__all__ = ["Found", "Told", "finished", "taken"]
