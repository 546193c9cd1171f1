"""Write ``docs/operations.md`` from the operations: ``python docs/build_reference.py``."""

from __future__ import annotations

from pathlib import Path

from somascope.core.operations import Operation, Parameter
from somascope.core.registry import get_operation, operation_names

PAGE = Path(__file__).resolve().parent / "operations.md"


def _row(p: Parameter) -> str:
    kind = " / ".join(map(str, p.choices)) or (f"{p.length} numbers" if p.length else p.type)
    low, high = p.param.minimum, p.param.maximum
    span = f"{'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:g}'}"
    default = "required" if p.required else f"`{p.default}`"
    cells = f"`{p.name}`", kind, p.param.unit, span if span != " to " else "", default, p.param.help
    return f"| {' | '.join(cells)} |"


def section(op: Operation) -> str:
    """One operation as Markdown."""
    inputs = ", ".join(f"{name}: {noun}" for name, noun in op.inputs)
    lines = [f"## `{op.name}`", "", f"{op.summary}", "", f"{inputs} → {op.output}", ""]
    if op.parameters:
        lines += ["| parameter | type | unit | range | default | |", "|---|---|---|---|---|---|"]
        lines += [_row(p) for p in op.parameters]
        lines.append("")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    head = (
        "# Operations\n\n"
        "Written by `docs/build_reference.py` from the operations themselves. Each is there as a\n"
        "Python call, as `somascope run NAME INPUT -o OUT --param value`, as `POST /api/jobs`,\n"
        "as a form in the viewer, and as a step of a pipeline.\n\n"
    )
    return head + "\n".join(section(get_operation(n)) for n in operation_names())


if __name__ == "__main__":
    PAGE.write_text(page())
