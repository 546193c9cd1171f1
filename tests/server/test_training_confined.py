"""A training's process keeps its hands: no network, no program, no token in its environment."""

import json
import os
import subprocess
import sys

import pytest

from somascope.server.monailabel.confined import environment

TRIED = """
import json, os, socket, subprocess, sys
from somascope.server.monailabel.confined import confine_training
filtered = confine_training(0.01)
import torch
said = {"filtered": filtered}
for name, what in {
    "network": lambda: socket.socket(),
    "program": lambda: subprocess.run(["true"], check=True),
}.items():
    try:
        what()
        said[name] = "done"
    except OSError as error:
        said[name] = type(error).__name__
network = torch.nn.Conv2d(1, 2, 3)
network(torch.zeros(1, 1, 8, 8)).sum().backward()
said["learned"] = network.weight.grad is not None
with open(sys.argv[1], "w") as file:
    json.dump(said, file)
"""


def test_tokens_and_databases_stay_with_the_server():
    given = {"PATH": "/bin", "SOMASCOPE_TOKEN": "x", "SOMASCOPE_DATABASE": "postgresql://u:p@h",
             "SOMASCOPE_MODELS": "/m"}  # fmt: skip
    assert environment(given) == {"PATH": "/bin", "SOMASCOPE_MODELS": "/m"}


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
                    reason="system calls are filtered on Linux, x86-64")  # fmt: skip
def test_it_learns_and_writes_and_reaches_nothing(tmp_path):
    pytest.importorskip("torch")
    subprocess.run([sys.executable, "-c", TRIED, str(tmp_path / "said.json")], check=True)
    said = json.loads((tmp_path / "said.json").read_text())
    if not said["filtered"]:
        pytest.skip("this kernel filters no system calls")
    assert said["network"] != "done"
    assert said["program"] != "done"
    assert said["learned"]
