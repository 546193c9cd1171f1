"""Trained models, run without PyTorch: an ONNX graph, a card, and an engine.

::

    model = models.load("classify.pneumonia")      # or the path of a folder or ZIP file
    findings = model(image)
"""

from __future__ import annotations

from somascope.models.card import ClassName, Metric, NetworkCard
from somascope.models.package import Package
from somascope.models.prepare import Preparation
from somascope.models.run import Network, load

__all__ = ["ClassName", "Metric", "Network", "NetworkCard", "Package", "Preparation", "load"]
