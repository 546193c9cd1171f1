"""`serve` and `demo`: the server, and the server with something to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

HTTP_PORT = 8742
DICOM_PORT = 11112


def serve(
    archive: Annotated[Path, typer.Argument(help="Archive folder (made when it is not there).")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port; 0 takes a free one.")] = HTTP_PORT,
    aet: Annotated[str, typer.Option(help="DICOM application entity title.")] = "SOMASCOPE",
    dicom_port: Annotated[int, typer.Option(help="DICOM port; 0 takes a free one.")] = DICOM_PORT,
    workers: Annotated[int, typer.Option(help="Worker processes for jobs.", min=0)] = 1,
    acceptors: Annotated[int, typer.Option(help="DICOM acceptor processes.", min=0)] = 2,
    executor: Annotated[
        str, typer.Option(help="What runs jobs: local or ray.", envvar="SOMASCOPE_EXECUTOR")
    ] = "local",
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make a token, show it once; ends all sessions.")
    ] = False,
) -> None:
    """Serve an archive: viewer, DICOMweb, DICOM and the application API in one process tree."""
    from somascope.server.supervise import Plan, supervise

    if new_token:
        from somascope.server import credentials

        typer.echo(f"token    {credentials.new_token(archive)}   (shown once; keep it)")
    plan = Plan(
        root=archive, host=host, port=port, aet=aet, dicom_port=dicom_port,
        workers=workers, acceptors=acceptors, executor=executor,
    )  # fmt: skip
    supervise(plan, say=typer.echo)


def demo_folder() -> Path:
    """Where the demo's archive is kept between runs."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "somascope" / "demo"


def demo(
    port: Annotated[int, typer.Option(help="HTTP port; 0 takes a free one.")] = HTTP_PORT,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    archive: Annotated[Path | None, typer.Option(help="Archive folder.")] = None,
    dicom_port: Annotated[int, typer.Option(help="DICOM port; 0 takes a free one.")] = DICOM_PORT,
) -> None:
    """Start with real and phantom studies of several modalities, and open the viewer."""
    import webbrowser

    from somascope.cli.content import fill
    from somascope.server.supervise import Plan, supervise

    root = archive or demo_folder()
    plan = Plan(root=root, port=port, dicom_port=dicom_port, busy_port_moves=True)

    def ready(url: str) -> None:
        typer.echo(f"archive  {root}")
        if browser:
            webbrowser.open(url)
        from somascope.archive import Archive
        from somascope.cli.bar import bar

        opened = Archive.open(root)
        try:
            with bar("demo images") as progress:
                fill(opened, progress=progress)
        finally:
            opened.close()
        typer.echo("all demo images are in; stop with Ctrl+C")

    supervise(plan, say=typer.echo, ready=ready)
