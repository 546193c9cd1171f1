"""The application interface: system, operations, jobs, uploads, provenance, live events."""

from __future__ import annotations

from somascope.server.api.router import create_router

__all__ = ["create_router"]
