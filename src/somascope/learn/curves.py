"""Curves of a run while it goes on, in TensorBoard and in MLflow, where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from somascope.core.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

Watch: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""Is told the step, and figures by name: of every step the loss, of every validation all."""


@contextmanager
def watching(
    *, name: str, tensorboard: str | Path = "", mlflow: str = ""
) -> Iterator[Watch | None]:
    """What tells the curves of a run to those who are asked; None where nobody is.

    Parameters
    ----------
    name
        Of the run.
    tensorboard
        A folder; ``tensorboard --logdir FOLDER`` shows the curves while they grow. A run that goes
        on writes where it stopped.
    mlflow
        A tracking URI (``sqlite:///runs.db``, ``http://127.0.0.1:5000``); a run of this name in the
        experiment ``somascope`` that is not finished is gone on with.

    Raises
    ------
    MissingExtra
        The program that is asked for is not installed.
    """
    with ExitStack() as open_:
        told = [
            open_.enter_context(_tensorboard(Path(tensorboard), name)) if tensorboard else None,
            open_.enter_context(_mlflow(mlflow, name)) if mlflow else None,
        ]
        every = [t for t in told if t is not None]

        def watch(step: int, figures: Mapping[str, float]) -> None:
            for one in every:
                one(step, figures)

        yield watch if every else None


def _there(package: str) -> Any:
    if find_spec(package) is None:
        raise MissingExtra(f"{package} is not installed; pip install {package}, or train without")
    from importlib import import_module

    return import_module(package)


@contextmanager
def _tensorboard(folder: Path, name: str) -> Iterator[Watch]:
    _there("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / name))

    def watch(step: int, figures: Mapping[str, float]) -> None:
        for key, value in figures.items():
            writer.add_scalar(key.replace(" ", "_"), value, step)
        if len(figures) > 1:  # a validation: whoever looks on sees it now
            writer.flush()

    try:
        yield watch
    finally:
        writer.close()


@contextmanager
def _mlflow(uri: str, name: str) -> Iterator[Watch]:
    mlflow = _there("mlflow")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("somascope")
    unfinished: list[Any] = mlflow.search_runs(
        filter_string=f"attributes.run_name = '{_quoted(name)}' and attributes.status = 'RUNNING'",
        max_results=1, output_format="list",
    )  # fmt: skip
    known = unfinished[0].info.run_id if unfinished else None
    run: AbstractContextManager[Any] = mlflow.start_run(run_id=known, run_name=name)
    with run:
        yield lambda step, figures: mlflow.log_metrics(dict(figures), step=step)


def _quoted(name: str) -> str:
    return "".join(c for c in name if c.isalnum() or c in "-_. ")
