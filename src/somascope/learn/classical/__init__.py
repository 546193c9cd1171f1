"""Classifiers and detectors without networks: radiomics, scikit-learn. Needs no PyTorch.

What comes out is a model like any other: a graph of plain operators and a card.
"""

from __future__ import annotations

from somascope.learn.classical.detector import make_detector
from somascope.learn.classical.make import METHODS, Made, make_classical

__all__ = ["METHODS", "Made", "make_classical", "make_detector"]
