"""Follow-up: lesions of one examination found again in the next, and what has changed."""

from __future__ import annotations

from somascope.analyze.longitudinal.course import Followed, followed

__all__ = ["Followed", "followed"]
