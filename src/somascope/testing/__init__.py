"""Public contracts: hold an operator, operation, model, reader or archive to its promises.

Each raises `AssertionError` that names the first promise that is broken, and returns nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from somascope.testing.archive import check_archive
    from somascope.testing.model import check_model
    from somascope.testing.operation import check_operation
    from somascope.testing.operator import check_operator
    from somascope.testing.reader import check_reader

__all__ = ["check_archive", "check_model", "check_operation", "check_operator", "check_reader"]

_WHERE = {name: name.removeprefix("check_") for name in __all__}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'somascope.testing' has no attribute {name!r}")
    return getattr(import_module(f"somascope.testing.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
