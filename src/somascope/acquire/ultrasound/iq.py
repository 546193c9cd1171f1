"""Down-mixing: RF to complex baseband (IQ) at a lower rate, and time gain compensation."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.samples import scan_of
from somascope.core import Acquisition, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import cores


def demodulated(
    rf: Array,
    *,
    sampling_frequency: float,
    frequency: float,
    start: float,
    bandwidth: float,
    decimation: int = 1,
) -> Array:
    """``LP[2 rf(t) exp(-2 pi i f t)]`` along the last axis, every ``decimation``-th sample.

    The filter is a raised-cosine band of ``frequency (1 -/+ bandwidth)`` in the spectrum of the
    zero-padded trace, so it has no delay; the negative band is removed exactly.

    Parameters
    ----------
    rf
        ``(..., time)``, real.
    bandwidth
        Share of ``frequency`` that is passed on each side; the edges roll off over a tenth of the
        band beyond it.

    Returns
    -------
    array
        complex64 ``(..., ceil(time / decimation))``.
    """
    from scipy import fft

    rf = np.asarray(rf)
    count = rf.shape[-1]
    step = max(int(decimation), 1)
    length = fast_length(-(-(count + 32) // step)) * step
    half = min(bandwidth, 1.0) * frequency
    # Undersampled RF holds its band at another, perhaps negative, frequency.
    alias = frequency - round(frequency / sampling_frequency) * sampling_frequency
    if alias != frequency and half > min(abs(alias), sampling_frequency / 2 - abs(alias)):
        raise ParameterError(
            f"RF of {frequency / 1e6:g} +- {half / 1e6:.3g} MHz sampled at "
            f"{sampling_frequency / 1e6:g} MHz overlaps itself; give at least twice the highest "
            "frequency, or the bandwidth that was sampled"
        )
    edge = max(0.1 * half, 2 * sampling_frequency / length)
    wide = int((half + edge) * length / sampling_frequency)
    shift = round(alias * length / sampling_frequency)
    bins = np.arange(max(shift - wide, -(length // 2)), min(shift + wide, length // 2) + 1)
    if alias > 0:
        bins = bins[bins > 0]
    f = bins * (sampling_frequency / length)
    keep = np.clip((half + edge - np.abs(f - alias)) / edge, 0, 1)
    gain = (2 * np.sin(0.5 * np.pi * keep) ** 2).astype(np.float32)
    # The band is put down by whole bins; decimation is a shorter inverse transform. What is left
    # of the shift, and the phase of the clock, are one multiplication in time.
    short = length // step
    kept = -(-count // step)
    n = np.arange(kept) * (step / sampling_frequency)
    rest = alias - shift * sampling_frequency / length
    phase = np.exp(-2j * np.pi * (rest * n + frequency * start)).astype(np.complex64)
    rows = rf.reshape(-1, count)
    out = np.empty((len(rows), kept), np.complex64)
    at = (bins - shift) % short
    if bins.size > short:
        raise ParameterError(
            f"a band of {2 * half / 1e6:.3g} MHz does not fit into "
            f"{sampling_frequency / step / 1e6:.3g} MHz; decimate less than {step}"
        )
    block = max(1, 2**22 // length)
    for k in range(0, len(rows), block):
        part = np.ascontiguousarray(rows[k : k + block], np.float32)
        spectrum: Any = fft.rfft(part, length, axis=-1, workers=cores())
        base = np.zeros((len(part), short), np.complex64)
        band = spectrum[:, np.abs(bins)]
        if bins[0] < 0:
            np.conjugate(band, out=band, where=bins < 0)
        base[:, at] = band * (gain / np.float32(step))
        mixed: Any = fft.ifft(base, axis=-1, workers=cores())
        out[k : k + block] = mixed[:, :kept]
    out *= phase
    return out.reshape(*rf.shape[:-1], kept)


def fast_length(count: int) -> int:
    """The next length that the FFT does quickly."""
    from scipy import fft

    length: Any = fft.next_fast_len(int(count), real=True)
    return int(length)


def decimation_for(scan: ChannelScan) -> int:
    """The largest step at which IQ of the probe's band is still sampled twice over."""
    width = 2 * band_of(scan) * scan.probe.centre_frequency * 1.1
    return max(1, int(scan.sampling_frequency / (1.5 * width)))


def band_of(scan: ChannelScan) -> float:
    """Half the band to keep, as a share of the centre frequency: the probe's to -40 dB."""
    return float(min(1.0, 1.3 * scan.probe.bandwidth))


def carrier_of(scan: ChannelScan) -> float:
    """The probe's centre frequency."""
    return scan.probe.centre_frequency


@operation("acquire.ultrasound.demodulate")
def demodulate(
    acquisition: Acquisition,
    *,
    frequency: Annotated[
        float | None, Param("Carrier; the probe's centre frequency if not given", unit="MHz",
                            minimum=0.1, maximum=100.0)
    ] = None,
    bandwidth: Annotated[
        float | None, Param("Share of the carrier kept on each side; the probe's bandwidth if not "
                            "given", minimum=0.05, maximum=1.0, step=0.05)
    ] = None,
    decimation: Annotated[
        int | None, Param("Keep every n-th sample; as the band allows if not given", minimum=1,
                          maximum=64)
    ] = None,
) -> Acquisition:  # fmt: skip
    """Mix RF channel data down to complex baseband (IQ) and keep fewer samples of it."""
    scan = scan_of(acquisition, "acquire.ultrasound.demodulate")
    if scan.complex:
        raise ParameterError("these samples are IQ already; acquire.ultrasound.das takes them")
    carrier = carrier_of(scan) if frequency is None else frequency * 1e6
    step = decimation_for(scan) if decimation is None else decimation
    iq = demodulated(
        acquisition.samples, sampling_frequency=scan.sampling_frequency, frequency=carrier,
        start=scan.start, bandwidth=band_of(scan) if bandwidth is None else bandwidth,
        decimation=step,
    )  # fmt: skip
    made = scan.with_changes(
        samples=iq.shape[-1], demodulation_frequency=carrier,
        sampling_frequency=scan.sampling_frequency / step,
    )  # fmt: skip
    return acquisition.with_samples(iq, operator=made)


@operation("acquire.ultrasound.tgc")
def tgc(
    acquisition: Acquisition,
    *,
    attenuation: Annotated[
        float | None, Param("Of the tissue; fitted to the echoes' mean decay if not given",
                            unit="dB/(cm.MHz)", minimum=0.0, maximum=5.0, step=0.05)
    ] = None,
) -> Acquisition:  # fmt: skip
    """Amplify late echoes by what tissue took from them on the way there and back.

    ``gain = 10^(attenuation f c t / 20)`` with the path ``c t``. Fitted, the gain is the
    exponential through the mean amplitude over all traces; it never falls with time.
    """
    scan = scan_of(acquisition, "acquire.ultrasound.tgc")
    t = scan.start + np.arange(scan.samples) / scan.sampling_frequency
    if attenuation is not None:
        path = np.maximum(t, 0) * scan.speed_of_sound * 100
        db = attenuation * scan.probe.centre_frequency / 1e6 * path
        gain = 10 ** (db / 20)
    else:
        flat = np.abs(acquisition.samples.reshape(-1, scan.samples))
        level = flat.mean(axis=0, dtype=np.float64)
        heard = level > 1e-4 * level.max()
        if level.max() == 0 or heard.sum() < 8:
            raise ParameterError("the channel data is silent; there is no decay to fit")
        slope = np.polyfit(t[heard], np.log(level[heard]), 1)[0]
        gain = np.exp(-min(slope, 0.0) * (t - t[0]))
    kind = acquisition.samples.dtype if acquisition.samples.dtype.kind in "fc" else np.float32
    return acquisition.with_samples((acquisition.samples * gain).astype(kind))
