"""``python -m somascope.cli``."""

from __future__ import annotations

from somascope.cli import main

main()
