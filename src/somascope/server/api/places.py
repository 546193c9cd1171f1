"""What a request may have opened: things with a name on this machine, never a path.

Some operations open what a parameter names (`core.Param.opens`): models, shape models, rules,
atlases, cohorts. In Python and on the command line that may be any path, by the right of who types
it. A request of the network has no such right: it would read the server's files, or tell which of
them are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from somascope.core.errors import Refused
from somascope.core.registry import get_operation


def _models() -> list[str]:
    from somascope.models import installed

    return list(installed.models())


def _shapes() -> list[str]:
    from somascope.analyze.shape import stored

    return stored.names()


def _rules() -> list[str]:
    from somascope.analyze.rules.reading import names

    return list(names())


def _atlases() -> list[str]:
    from somascope.analyze.atlas import manifest

    return manifest.names()


KNOWN: Mapping[str, Callable[[], list[str]]] = {
    "model": _models, "models": _models, "shape": _shapes, "rules": _rules, "atlas": _atlases,
    "cohort": _atlases,
}  # fmt: skip
SEVERAL = ("models", "rules")
"""Parted by commas."""


def permitted(operation: str, params: Mapping[str, Any]) -> None:
    """Raise `Refused` where a parameter of a request names what is not known here by name.

    Whether it is of the right type the operation says itself. `NotFound` for no such operation.
    """
    for parameter in get_operation(operation).parameters:
        kind, value = parameter.param.opens, params.get(parameter.name)
        if not kind or not isinstance(value, str) or not value.strip():
            continue
        known = KNOWN[kind]() if kind in KNOWN else []
        asked = [v.strip() for v in value.split(",")] if kind in SEVERAL else [value]
        for name in asked:
            if name and name not in known:
                raise Refused(
                    f"{operation}: {parameter.name} is {name[:80]!r}, which is no name that this "
                    f"server knows; a request opens no paths. There is {', '.join(known) or 'none'}"
                )
