"""Registration: from two images to the map between them, and what it is worth."""

from __future__ import annotations

from somascope.analyze.register.engine import register
from somascope.analyze.register.transform import apply, compose, invert, points
from somascope.analyze.register.verdict import Registered, Verdict

__all__ = ["Registered", "Verdict", "apply", "compose", "invert", "points", "register"]
