# ruff: noqa: INP001
"""Writes the viewer's table of palettes from the one in the house.

::

    python viewer/build_palettes.py

makes ``viewer/src/viewport/palettes.generated.ts`` from `somascope.process.palettes`; a test tells
when it is out of date.
"""

from __future__ import annotations

import json
from pathlib import Path

from somascope.process.palettes import as_json

TARGET = Path(__file__).parent / "src/viewport/palettes.generated.ts"

HEAD = """/** Made by viewer/build_palettes.py from somascope.process.palettes; do not edit. */

export interface Palette {
  /** As process.pseudo_colour knows it. */
  name: string;
  label: string;
  kind: "sequential" | "diverging" | "clinical" | "rainbow";
  /** Well-known palette of PS3.6, or empty. */
  uid: string;
  /** What a reader should know before trusting it; empty where nothing speaks against it. */
  warning: string;
  /** Each colour holds until the next. */
  stepped: boolean;
  /** Position in [0, 1]; red, green, blue in bytes. */
  points: [number, number, number, number][];
}

"""


def typescript() -> str:
    """The whole file."""
    lines = [HEAD + "export const PALETTES: Palette[] = ["]
    for one in as_json():
        lines.append("  {")
        lines += [f"    {k}: {json.dumps(v)}," for k, v in one.items() if k != "points"]
        lines.append("    points: [")
        for x, r, g, b in one["points"]:
            lines.append(f"      [{round(x, 6):g}, {r}, {g}, {b}],")
        lines += ["    ],", "  },"]
    return "\n".join([*lines, "];"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(typescript(), encoding="utf-8")
