"""Write ``docs/benchmarks.md`` from JSON lines: ``python docs/build_benchmarks.py FILE... ``.

The lines come from ``python -m benchmarks NAME --json``; they are kept in ``benchmarks.jsonl``.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LINES = FOLDER / "benchmarks.jsonl"


def _row(line: dict[str, Any]) -> str:
    ours, peer = line["ours_ms"], line["peer_ms"]
    cells = (
        line["name"],
        line["case"],
        f"{ours['min']:.4g} / {ours['median']:.4g}",
        f"{line['peer']} {line['peer_version']}",
        f"{peer['min']:.4g} / {peer['median']:.4g}",
        f"**{line['ratio']:.2f}**",
        f"{line['quality_metric']}: {line['quality_ours']} / {line['quality_peer']}",
        line["date"],
    )
    return f"| {' | '.join(cells)} |"


def page(lines: list[dict[str, Any]]) -> str:
    """The whole page."""
    machines = sorted({line["machine"] for line in lines})
    return (
        "# Benchmarks\n\n"
        "Ours and the peer's from one interleaved run; `ratio` is the peer's median over ours, so\n"
        "above 1 we are faster. Quality is checked in the same run. Times are milliseconds,\n"
        "minimum / median; the machine is shared and noisy, so read the ratios. Run them with\n"
        "`python -m benchmarks NAME`.\n\n"
        "`viewer` is skipped, and says so, where `SOMASCOPE_OHIF_DIST` does not name the folder\n"
        "of OHIF's ready-built site; the head of `benchmarks/viewer/ohif.py` tells how to get it.\n"
        "In `query` the peer is our own archive when it was small.\n\n"
        f"Machine: {'; '.join(machines)}.\n\n"
        "| name | case | ours | peer | peer | ratio | quality | date |\n"
        "|---|---|---|---|---|---|---|---|\n" + "\n".join(map(_row, lines)) + "\n"
    )


def main() -> None:
    """Take in new lines (they replace those of the same benchmark) and write the page."""
    lines = [json.loads(text) for text in LINES.read_text().splitlines()] if LINES.exists() else []
    today = dt.datetime.now(dt.UTC).date().isoformat()
    for file in sys.argv[1:]:
        new = [json.loads(text) for text in Path(file).read_text().splitlines()]
        names = {line["name"] for line in new}
        lines = [line for line in lines if line["name"] not in names]
        lines += [{**line, "date": line.get("date", today)} for line in new]
    LINES.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (FOLDER / "benchmarks.md").write_text(page(lines))


if __name__ == "__main__":
    main()
