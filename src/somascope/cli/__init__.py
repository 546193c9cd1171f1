"""The command line: every verb of the system, and nothing heavy before a verb is chosen."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of ``somascope``."""
    from somascope.cli.app import run_app

    run_app()
