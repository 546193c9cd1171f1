"""The table of commands. Each lives in a module of its own and imports its rooms when called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from somascope.cli import (
    data,
    doctor,
    duplicates,
    explain,
    follow_up,
    learning,
    operations,
    predict,
    register,
    serve,
)
from somascope.cli.cohort import cohort
from somascope.cli.model import model
from somascope.core.errors import Cancelled, ParameterError, SomascopeError

app = typer.Typer(
    name="somascope",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Somascope: acquire, archive, process, analyse, view and report medical images. "
        "Not for clinical use."
    ),
)


def _version(value: bool) -> None:
    if value:
        from somascope import __version__

        typer.echo(f"somascope {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the command."""


for command in (
    serve.demo,
    serve.serve,
    data.import_,
    data.export,
    data.convert,
    operations.operations,
    operations.run,
    operations.replay,
    register.register,
    register.transform,
    follow_up.follow_up,
    learning.train,
    predict.predict,
    learning.evaluate,
    duplicates.duplicates,
    explain.explain,
    explain.next_,
    doctor.doctor,
):
    settings = (
        {"allow_extra_args": True, "ignore_unknown_options": True}
        if command is operations.run
        else {}
    )
    app.command(
        name=command.__name__.rstrip("_").replace("_", "-"),
        context_settings=settings,
        add_help_option=command is not operations.run,
    )(command)


app.add_typer(model, name="model")
app.add_typer(cohort, name="cohort")


def run_app() -> None:
    """Run the command; an expected error is one line on stderr and exit code 1, or 2."""
    try:
        app()
    except ParameterError as error:
        typer.echo(f"somascope: {error}", err=True)
        sys.exit(2)
    except (Cancelled, KeyboardInterrupt):
        typer.echo("somascope: stopped", err=True)
        sys.exit(130)
    except SomascopeError as error:
        typer.echo(f"somascope: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
