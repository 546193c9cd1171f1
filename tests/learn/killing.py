"""Training runs in processes of their own that are gone, by SIGKILL, at a moment chosen before.

Run as a program it imports what they need once, and forks for each line of JSON that it reads
(``world, out, moment, phase``); it answers with what became of the process: an exit code, or minus
the signal it died of.
"""

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

STEPS = 96
PRELOADED = ("torch._dynamo", "onnx", "scipy.optimize", "onnxruntime", "somascope.learn.make",
             "somascope.learn.calibrate")  # fmt: skip
"""What a run imports before long, so that it is not imported again for each."""
CHANGES = ("open", "os.rename", "os.remove", "shutil.rmtree")
"""Audit events of Python: raised before the file is touched."""


def trained(world: Path, out: Path, moment: int, phase: str) -> None:
    """Train the data and plan in ``world`` to the model ``out``.

    In the phase ``training`` its steps and its changes of files beside ``out`` are counted, in the
    phase ``writing`` its changes of files in ``out``; at the one numbered ``moment`` (from 1; 0: at
    none) the process kills itself, before the file is changed.
    """
    import torch

    from somascope.core import Progress
    from somascope.learn.datasets import open_dataset
    from somascope.learn.make import make
    from somascope.learn.plan import Plan

    torch.set_num_threads(1)
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def changed(event: str, args: tuple) -> None:
        folder = f"{out}/" if phase == "writing" else f"{out}.training"
        if event not in CHANGES or not str(args[0]).startswith(folder):
            return
        if event != "open" or str(args[1])[0] in "xwa":
            count()

    def stepped(_: float, message: str) -> None:
        if phase == "training" and message.startswith("step "):
            count()

    sys.addaudithook(changed)
    make(
        open_dataset(world / "discs.npz", "classify"), out, steps=STEPS,
        chosen=Plan.from_json((world / "plan.json").read_text()), progress=Progress(stepped),
    )  # fmt: skip


def main() -> None:
    for needed in PRELOADED:
        import_module(needed)
    for line in sys.stdin:
        world, out, moment, phase = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                trained(Path(world), Path(out), moment, phase)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
