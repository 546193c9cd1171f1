"""Every enhancement on an image that suits it: before, after, and both histograms.

python examples/gallery.py FOLDER [denoising contrast edges repair shapes]

The images are those that come inside the packages installed with Somascope: a fundus photograph and
coins (scikit-image), a head (nilearn's MNI152 template; our brain phantom where nilearn is not
installed), a CT slice (pydicom), and our own phantoms for ultrasound. The pictures of
docs/gallery.md come from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from somascope.core import Axis, Grid, Image, Mask
from somascope.core.registry import get_operation
from somascope.io import read
from somascope.phantoms import brain_mr
from somascope.phantoms.ultrasound import heart_us
from somascope.process.filters import smooth

SIDE = 208
"""Pixels of a panel's edge."""


@dataclass(frozen=True)
class Shown:
    """One picture: the image before, what was done, and what is looked at."""

    name: str
    before: Image
    after: Image | Mask
    slice: int = 0
    window: tuple[float, float] | None = None
    after_window: tuple[float, float] | None = None


def run(name: str, *inputs: Image | Mask, **params: object) -> Image | Mask:
    """Call an operation by its name, as every door does."""
    return get_operation(name)(*inputs, **params)


def plane(values: np.ndarray, spacing: float = 1.0, **more: object) -> Image:
    """A single slice, float32."""
    data = np.asarray(values, np.float32)[None]
    return Image(data, Grid.from_spacing(data.shape, (1.0, spacing, spacing)), **more)  # type: ignore[arg-type]


@cache
def retina() -> Image:
    """A fundus photograph (a pixel counts as 1 mm), in colour: ``(3, 1, y, x)`` uint8."""
    from skimage.data import retina as photograph

    pixels = np.moveaxis(photograph()[300:1100:2, 300:1100:2, :3], -1, 0)[:, None]
    grid = Grid.from_spacing((1, *pixels.shape[2:]), (1.0, 1.0, 1.0))
    return Image(np.ascontiguousarray(pixels), grid, "OP", axes=(Axis("channel"),))


def green() -> Image:
    """The fundus in green light, where vessels are darkest."""
    return plane(retina().data[1, 0])


@cache
def head() -> Image:
    """A head in MR, 1 mm, arbitrary values from 0 to about 1000; the nose points up."""
    try:
        import nilearn.datasets
    except ImportError:
        image = brain_mr()
        data = image.data.astype(np.float32)
        return replace(image, data=data * (1000 / float(data.max())))
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(nilearn.datasets.__file__).parent / "data" / name
    image = read(path)
    if not isinstance(image, Image):
        raise TypeError(f"{path} holds several images")
    order = np.argsort([int(np.argmax(np.abs(image.grid.direction[:, a]))) for a in range(3)])[::-1]
    data = np.transpose(image.data, order).astype(np.float32)
    data = np.ascontiguousarray(data[:, ::-1] if data[:, :40].sum() > data[:, -40:].sum() else data)
    return Image(data * (1000 / float(data.max())), Grid.from_spacing(data.shape, (1, 1, 1)), "MR")


def middle(thick: int = 1) -> Image:
    """Slices through the middle of the head."""
    z = head().grid.shape[0] // 2
    _, ny, nx = head().grid.shape
    return head().crop(
        start=(z, ny // 14, nx // 14), stop=(z + thick, ny - ny // 14, nx - nx // 14)
    )


def noisy(sigma: float = 60.0, thick: int = 1) -> Image:
    """The same in Gaussian noise."""
    image = middle(thick)
    noise = np.random.default_rng(0).normal(0, sigma, image.shape).astype(np.float32)
    return image.with_data(image.data + noise)


@cache
def ct() -> Image:
    """The CT slice that comes with pydicom, Hounsfield units."""
    import pydicom.data

    found = read(Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm")
    if not isinstance(found, Image):
        raise TypeError("CT_small.dcm holds several images")
    return found


def coins() -> Image:
    """Coins that touch, as cells would."""
    from skimage.data import coins as photograph

    return plane(photograph()[76:300, :380], 0.1)


def denoising() -> Iterator[Shown]:
    """Noise taken away."""
    window = (0.0, 900.0)
    one, stack = noisy(), noisy(thick=7)
    yield Shown("gaussian", one, run("process.gaussian", one, sigma=1.0), window=window)
    yield Shown("median", one, run("process.median", one, size=5), window=window)
    yield Shown("bilateral", one, run("process.bilateral", one, sigma=1.5), window=window)
    yield Shown("nlm", stack, run("process.nlm", stack), 3, window)
    yield Shown("diffusion", one, run("process.diffusion", one, iterations=15), window=window)
    yield Shown("tv", stack, run("process.tv", stack, strength=0.8), 3, window)
    yield Shown("bm3d", one, run("process.bm3d", one), window=window)
    yield Shown("wavelet", stack, run("process.wavelet", stack), 3, window)
    heart = heart_us(frames=1).at(t=0)
    heart = heart.with_data(heart.data.astype(np.float32))
    heart = heart.crop(start=(0, 60, 40), stop=(1, 210, 190))
    for name, params in (
        ("lee", {"model": "additive"}), ("kuan", {}), ("frost", {}), ("srad", {"iterations": 40}),
    ):  # fmt: skip
        after = run(f"process.{name}", heart, **params)
        yield Shown(name, heart, after, window=(0, 255))


def contrast() -> Iterator[Shown]:
    """Contrast raised or moved."""
    eye, one = retina(), middle()
    window = (0.0, 1000.0)
    yield Shown("clahe", eye, run("process.clahe", eye, clip_limit=3.0))
    yield Shown(
        "multiscale", green(), run("process.multiscale", green(), power=0.6), window=(0, 180)
    )
    yield Shown("unsharp", one, run("process.unsharp", one, radius=1.5, amount=1.5), window=window)
    slice_ = ct()
    hounsfield = (-1000.0, 1000.0)
    yield Shown("gamma", slice_, run("process.gamma", slice_, gamma=0.5), window=hounsfield)
    yield Shown("sigmoid", slice_, run("process.sigmoid", slice_, centre=40.0), window=hounsfield)
    yield Shown("equalise", slice_, run("process.equalise", slice_), window=hounsfield)
    evened = run("process.local_normalise", green(), size=50.0)
    yield Shown("local-normalise", green(), evened, after_window=(-2.5, 2.5))
    shaded = shading()
    yield Shown("n4", shaded, run("process.n4", shaded), 6, window)
    other = one.with_data(400 * (one.data / 1000) ** 2)
    yield Shown("match", other, run("process.match", other, one), window=window)
    yield Shown("pseudo-colour", one, run("process.pseudo_colour", one, colours="magma"))


def shading() -> Image:
    """The head as a surface coil would see it."""
    image = middle(12)
    z, y, x = np.indices(image.shape, np.float32)
    away = np.hypot((x - 20) / 70, (y - 60) / 70)
    return image.with_data(image.data * (0.4 + 0.9 * np.exp(-away) + 0.003 * z))


def edges() -> Iterator[Shown]:
    """Edges, blobs, vessels and lines."""
    one, eye = middle(), green()
    window = (0.0, 1000.0)
    yield Shown("gradient", one, run("process.gradient", one, sigma=0.8), window=window)
    yield Shown("laplacian", one, run("process.laplacian", one, sigma=1.5), window=window,
                after_window=(-120, 120))  # fmt: skip
    yield Shown("dog", one, run("process.dog", one), window=window, after_window=(-90, 90))
    yield Shown("canny", one, run("process.canny", one, sigma=1.5), window=window)
    scales = {"scales": (1.5, 2.5, 4.0), "ridges": "dark"}
    for name in ("frangi", "sato", "meijering"):
        yield Shown(name, eye, run(f"process.{name}", eye, **scales), window=(0, 150))
    corner = eye.crop(start=(0, 0, 180), stop=(1, 180, 360))
    grain = np.random.default_rng(0).normal(0, 14, corner.shape).astype(np.float32)
    rough = corner.with_data(corner.data + grain)
    along = run("process.coherence", rough, iterations=60, scale=1.2, reach=4.0)
    yield Shown("coherence", rough, along, window=(20, 150))


def repair() -> Iterator[Shown]:
    """Blur, thick slices and rings."""
    window = (0.0, 1000.0)
    one = middle()
    blurred = one.with_data(smooth(one.data, (0, 1.5, 1.5)) + np.random.default_rng(0).normal(
        0, 3, one.shape
    ).astype(np.float32))  # fmt: skip
    yield Shown("wiener", blurred, run("process.wiener", blurred, fwhm=3.5, balance=0.005),
                window=window)  # fmt: skip
    sharper = run("process.richardson_lucy", blurred, fwhm=3.5, iterations=30)
    yield Shown("richardson-lucy", blurred, sharper, window=window)
    yield thick()
    slice_ = ct()
    y, x = np.indices(slice_.shape[1:])
    radius = np.hypot(y - 63.5, x - 63.5)
    steps = 90.0 * (np.arange(60) % 6 == 2) - 90.0 * (np.arange(60) % 10 == 5)
    rings = np.interp(radius, np.arange(60) * 1.5, steps)[None]
    ringed = slice_.with_data((slice_.data + rings).astype(np.float32))
    yield Shown("remove-rings", ringed, run("process.remove_rings", ringed, width=8.0),
                window=(-300, 500))  # fmt: skip


def thick() -> Shown:
    """The head seen from the side, in slices of 5 mm and of 1 mm again."""
    image = head().crop(start=(30, 0, 60), stop=(150, head().grid.shape[1], 140))
    means = image.data.reshape(24, 5, *image.shape[1:]).mean(axis=1)
    stack = Image(means, Grid.from_spacing(means.shape, (5, 1, 1)), "MR")
    thin = run("process.thin_slices", stack, variation=0.3)
    if not isinstance(thin, Image):
        raise TypeError("thin slices are an image")

    def sideways(of: np.ndarray) -> Image:
        return plane(of[::-1, :, 40])

    return Shown("thin-slices", sideways(np.repeat(means, 5, axis=0)), sideways(thin.data),
                 window=(0, 1000))  # fmt: skip


def shapes() -> Iterator[Shown]:
    """Shapes: thresholds, morphology, distances and basins."""
    image = coins()
    window = (0.0, 255.0)
    found = run("segment.threshold", image, method="otsu")
    yield Shown("threshold", image, found, window=window)
    closed = run("process.morphology", found, action="close", radius=0.5, holes=True)
    whole = run("process.morphology", closed, action="open", radius=0.6)
    yield Shown("morphology", image, whole, window=window)
    depth = run("process.distance", whole)
    yield Shown("distance", image, depth, window=window)
    if not (isinstance(depth, Image) and isinstance(whole, Mask)):
        raise TypeError("distances are an image, morphology gives a mask")
    tops = run("process.peaks", depth, height=0.6)
    down = depth.with_data(-depth.data)
    yield Shown("watershed", image, run("process.watershed", down, tops, upper=-0.01),
                window=window)  # fmt: skip
    one = middle()
    yield Shown("grey-morphology", one, run("process.grey_morphology", one, size=7.0),
                window=(0, 1000), after_window=(0, 350))  # fmt: skip


GROUPS: tuple[Callable[[], Iterator[Shown]], ...] = (denoising, contrast, edges, repair, shapes)


def pixels(of: Image, z: int, window: tuple[float, float] | None) -> np.ndarray:
    """Bytes of one slice: ``(y, x)``, or ``(y, x, 3)`` of colour."""
    if any(a.name == "channel" for a in of.axes):
        return np.ascontiguousarray(np.moveaxis(of.data[:, z], 0, -1)).astype(np.uint8)
    values = np.asarray(of.data[z], np.float64)
    low, high = window or tuple(np.percentile(values, (0.5, 99.5)))
    share = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    return np.rint(share * 255).astype(np.uint8)


def painted(base: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Segments in colour over a grey slice."""
    out = np.repeat(base[..., None], 3, axis=-1).astype(np.float64)
    tints = np.array([(255, 176, 40), (80, 180, 255), (240, 96, 96), (110, 220, 120),
                      (200, 130, 255), (250, 240, 110)])  # fmt: skip
    inside = mask > 0
    out[inside] = 0.35 * out[inside] + 0.65 * tints[(mask[inside].astype(int) - 1) % len(tints)]
    return out.astype(np.uint8)


def panel(of: np.ndarray) -> Picture.Image:
    """A square panel, the picture in its middle."""
    picture = Picture.fromarray(of).convert("RGB")
    factor = SIDE / max(picture.size)
    size = (max(round(picture.width * factor), 1), max(round(picture.height * factor), 1))
    picture = picture.resize(size, Picture.Resampling.BICUBIC)
    out = Picture.new("RGB", (SIDE, SIDE))
    out.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return out


def histogram(before: np.ndarray, after: np.ndarray) -> Picture.Image:
    """Both histograms as the eye sees them: of the bytes shown; grey before, orange after."""
    out = Picture.new("RGB", (SIDE, SIDE), (24, 26, 30))
    pen = ImageDraw.Draw(out)
    counts = [np.histogram(v, 64, (0, 256))[0].astype(float) for v in (before, after)]
    # Black background and white saturation would hide the rest.
    top = max(float(np.sort(c)[-3]) for c in counts) or 1.0
    heights = [np.minimum(c / top, 1.0) * (SIDE - 30) for c in counts]
    step = (SIDE - 16) / 64
    base = SIDE - 10
    for k, h in enumerate(heights[0]):
        pen.rectangle((8 + k * step, base - h, 8 + (k + 1) * step, base), fill=(104, 110, 120))
    line = [(8 + (k + 0.5) * step, base - h) for k, h in enumerate(heights[1])]
    pen.line(line, fill=(255, 160, 40), width=2)
    pen.line((8, base, SIDE - 8, base), fill=(180, 184, 190))
    pen.text((8, 4), "before", fill=(150, 156, 166))
    pen.text((58, 4), "after", fill=(255, 160, 40))
    return out


def drawn(shown: Shown) -> Picture.Image:
    """Before, after and the histograms, side by side."""
    before = pixels(shown.before, shown.slice, shown.window)
    if isinstance(shown.after, Mask):
        after = painted(before, shown.after.data[shown.slice])
        inside = before[shown.after.data[shown.slice] > 0]
        counted = inside if inside.size else before
    else:
        same = shown.after.unit == shown.before.unit
        window = shown.after_window or (shown.window if same else None)
        if shown.name in ("gradient", "frangi", "sato", "meijering", "distance"):
            window = None
        after = pixels(shown.after, shown.slice, window)
        counted = after
    parts = [panel(before), panel(after), histogram(before, counted)]
    out = Picture.new("RGB", (3 * SIDE + 8, SIDE), (255, 255, 255))
    for k, part in enumerate(parts):
        out.paste(part, (k * (SIDE + 4), 0))
    grey = before.ndim == 2 and after.ndim == 2
    colours = 96 if grey else 128
    return out.quantize(colours, dither=Picture.Dither.NONE)


def main(out: Path, *, groups: tuple[str, ...] = ()) -> dict[str, Shown]:
    """Draw all pictures, or those of some groups, into ``out``; and give back what they show."""
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Shown] = {}
    for group in GROUPS:
        if groups and group.__name__ not in groups:
            continue
        for shown in group():
            found[shown.name] = shown
            drawn(shown).save(out / f"{shown.name}.png", optimize=True)
    return found


if __name__ == "__main__":
    print(f"{len(main(Path(sys.argv[1]), groups=tuple(sys.argv[2:])))} pictures")
