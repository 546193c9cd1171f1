"""Channel data to the B-mode picture in one step."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.ultrasound.adaptive import combined
from somascope.acquire.ultrasound.beamform import columns_of, image_of, seen
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.choices import (
    DynamicRange,
    FNumber,
    Gain,
    Output,
    SpeedOfSound,
    Window,
)
from somascope.acquire.ultrasound.convert import scan_convert
from somascope.acquire.ultrasound.das import Beamformer, in_band
from somascope.acquire.ultrasound.envelope import DECIBEL, compressed
from somascope.acquire.ultrasound.lines import line_envelopes
from somascope.acquire.ultrasound.samples import frame_axes, scan_of
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


@operation("acquire.ultrasound.bmode")
def bmode(
    acquisition: Acquisition,
    *,
    f_number: FNumber = None,
    window: Window = "hann",
    method: Annotated[
        Literal["das", "dmas", "coherence", "generalised coherence", "capon"],
        Param("How channels are added: plainly, or as acquire.ultrasound.adaptive does")
    ] = "das",
    compounding: Annotated[
        Literal["coherent", "incoherent"],
        Param("Add the transmits' echoes (sharper) or their envelopes (less speckle)"),
    ] = "coherent",
    form: Annotated[
        Literal["automatic", "pixels", "lines"],
        Param("Beamform every pixel from all transmits, or one line per transmit and convert; "
              "lines for focused transmits, else pixels", advanced=True),
    ] = "automatic",
    dynamic_range: DynamicRange = 60.0,
    gain: Gain = 0.0,
    output: Output = "grey levels",
    speed_of_sound: SpeedOfSound = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """B-mode image of ultrasound channel data: mix down, delay and sum, envelope, log compression.

    Grey levels (uint8, 0 at ``-dynamic_range`` dB, 255 at the maximum plus gain) or decibels
    (float32) on the scan's grid, ``(t?, z, y, x)``. All frames share one maximum. As DICOM it is an
    Ultrasound (Multi-frame) Image with calibrated regions.
    """
    scan = scan_of(acquisition, "acquire.ultrasound.bmode")
    seen(scan)
    progress(0.0, "mixing down")
    band, iq = in_band(acquisition, scan)
    by_line = scan.transmit.kind == "focused" if form == "automatic" else form == "lines"
    if method != "das" and (by_line or compounding == "incoherent"):
        raise ParameterError(
            f"acquire.ultrasound.bmode: method {method} adds all transmits coherently at every "
            "pixel; choose form=pixels and compounding=coherent, or method=das"
        )
    rest = Progress(lambda f, m: progress(0.1 + 0.85 * f, m))
    if by_line:
        lines, starts, directions, depths = line_envelopes(
            band, iq, f_number=f_number, window=window, speed_of_sound=speed_of_sound,
            progress=rest,
        )  # fmt: skip
        values = scan_convert(
            lines, starts=starts, directions=directions, depths=depths, grid=scan.grid
        )
        image = _image(acquisition, scan, values)
    else:
        made = Beamformer(
            band, columns_of(scan.grid), f_number=f_number, window=window,
            speed_of_sound=speed_of_sound,
        )  # fmt: skip
        coherent = compounding == "coherent"
        if method == "das":
            data = np.abs(made(iq, compound=coherent, progress=rest))
        else:
            data = np.abs(combined(made, iq, method=method, progress=rest))
        if not coherent:
            data = np.sqrt(np.mean(data * data, axis=1))
        image = image_of(acquisition, scan, data)
    data = compressed(image.data, dynamic_range=dynamic_range, gain=gain, output=output)
    progress(1.0, "compressed")
    facts = picture_facts(scan)
    if output == "grey levels":
        facts |= {"WindowCenter": 128.0, "WindowWidth": 256.0}
    return Image(
        data=data, grid=image.grid, modality="US",
        unit=DECIBEL if output == "decibel" else "1", axes=image.axes,
        provenance=image.provenance, attributes={**image.attributes, **facts},
    )  # fmt: skip


def picture_facts(scan: ChannelScan) -> dict[str, Any]:
    """What the picture's DICOM says of the scan: depth, probe, frame rate."""
    deepest = scan.grid.to_world([0, scan.grid.shape[1] - 1, 0])[1]
    face = scan.probe.positions[:, 1].max()
    facts: dict[str, Any] = {
        "DepthOfScanField": round(float(deepest - face)),
        "TransducerFrequency": round(scan.probe.centre_frequency / 1e3),
        "TransducerType": {
            "linear": "LINEAR", "convex": "CURVED LINEAR", "phased": "SECTOR_PHASED",
            "matrix": "2D_MATRIX",
        }[scan.probe.kind],
    }  # fmt: skip
    if scan.times is not None and len(scan.times) > 1:
        facts["FrameTime"] = float(np.mean(np.diff(scan.times)) * 1e3)
    return facts


def _image(acquisition: Acquisition, scan: ChannelScan, values: Array) -> Image:
    """The image of values ``(frames, nz, ny, nx)``."""
    axes = frame_axes(scan)
    return Image(
        data=values if axes else values[0], grid=scan.grid, modality="US", axes=axes,
        provenance=acquisition.provenance, attributes=acquisition.attributes,
    )  # fmt: skip
