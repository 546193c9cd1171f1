"""Registration: from two images to the map between them, and what it is worth."""

from __future__ import annotations

from somascope.analyze.register.engine import register
from somascope.analyze.register.series import Group, groupwise
from somascope.analyze.register.transform import apply, compose, invert, points
from somascope.analyze.register.verdict import Registered, Verdict
from somascope.analyze.register.views import register_views

__all__ = [
    "Group", "Registered", "Verdict", "apply", "compose", "groupwise", "invert", "points",
    "register", "register_views",
]  # fmt: skip
