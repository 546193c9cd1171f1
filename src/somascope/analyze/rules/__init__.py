"""Rules: measurements and findings in, findings with their explanation out.

Rules are data (TOML or JSON), never code: what has to be measured, conditions with limits and
units, and what is said when they hold, each with the source it is taken from.
"""

from __future__ import annotations

from somascope.analyze.rules.answers import decide
from somascope.analyze.rules.reading import load, parse, shipped
from somascope.analyze.rules.ruleset import RuleSet

__all__ = ["RuleSet", "decide", "load", "parse", "shipped"]
