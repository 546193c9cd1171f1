"""Guidance: what was planned on one image, carried to where the patient lies now, and how sure."""

from __future__ import annotations

from somascope.analyze.guidance.carry import Carried, carried, carried_by_views
from somascope.analyze.guidance.paths import Clearance, Path, clearance

__all__ = ["Carried", "Clearance", "Path", "carried", "carried_by_views", "clearance"]
