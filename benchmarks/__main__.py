"""``python -m benchmarks NAME [--json] [--small]``: ours and the peer's, interleaved."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = {
    "load": ("benchmarks.io.load", "200-slice CT folder to Image; peers SimpleITK, pydicom"),
    "store": ("benchmarks.server.store", "durable C-STORE; peers Orthanc, pynetdicom storescp"),
    "web": ("benchmarks.server.web", "DICOMweb frames, QIDO, metadata, series, STOW; peer Orthanc"),
    "header": ("benchmarks.archive.header", "one header pass and metadata JSON; peer pydicom"),
    "process.median": ("benchmarks.process.median", "3^3 and 5^3 on 26 M voxels; peer SciPy"),
    "process.bilateral": (
        "benchmarks.process.filters:bilateral",
        "three dimensions, sigma 1.5; peer SimpleITK",
    ),
    "process.clahe": ("benchmarks.process.filters:clahe", "8^3 tiles; peer scikit-image"),
    "process.components": (
        "benchmarks.process.filters:components",
        "26 neighbours; peers SciPy, SimpleITK",
    ),
    "process.distance": (
        "benchmarks.process.filters:distance",
        "exact, with spacing; peers SciPy, SimpleITK",
    ),
    "process.frangi": ("benchmarks.process.filters:frangi", "two scales; peer scikit-image"),
    "process.gaussian": (
        "benchmarks.process.filters:gaussian",
        "sigma 2; peers SciPy, SimpleITK",
    ),
    "process.histogram": (
        "benchmarks.process.filters:histogram",
        "256 and 4096 bins; peers SciPy, NumPy",
    ),
    "process.latency": (
        "benchmarks.process.latency",
        "slider to pixel: CLAHE, bilateral, Frangi in Chromium; peer: gamma",
    ),
    "process.n4": ("benchmarks.process.filters:n4", "four levels; peer SimpleITK"),
    "process.nlm": ("benchmarks.process.filters:nlm", "5^3 by 3^3 voxels; peer scikit-image"),
    "process.resample": (
        "benchmarks.process.filters:resample",
        "linear and cubic to 1.5 voxels; peer SciPy, SimpleITK",
    ),
    "process.canny": ("benchmarks.process.enhance:canny", "three dimensions; peer SimpleITK"),
    "process.diffusion": (
        "benchmarks.process.enhance:diffusion",
        "Perona-Malik, 5 steps; peer SimpleITK",
    ),
    "process.gradient": (
        "benchmarks.process.enhance:gradient",
        "sigma 2; peers SciPy, SimpleITK",
    ),
    "process.richardson_lucy": (
        "benchmarks.process.enhance:lucy",
        "10 iterations; peer scikit-image",
    ),
    "process.thin_slices": (
        "benchmarks.process.enhance:thin_slices",
        "slices of 4 parted; peer SciPy's cubic",
    ),
    "process.tv": ("benchmarks.process.enhance:tv", "20 iterations; peer scikit-image"),
    "process.unsharp": (
        "benchmarks.process.enhance:unsharp",
        "sigma 2; peers scikit-image, SimpleITK",
    ),
    "process.watershed": (
        "benchmarks.process.enhance:watershed",
        "500 markers; peer scikit-image",
    ),
    "process.wavelet": (
        "benchmarks.process.enhance:wavelet",
        "BayesShrink, sym4; peer scikit-image",
    ),
    "process.wiener": ("benchmarks.process.enhance:wiener", "sigma 1.5; peer scikit-image"),
    "atlas.fusion": (
        "benchmarks.analyze.atlas_fusion:fusion",
        "best patches of 5 atlases; peer: the direct loop",
    ),
    "atlas.hippocampus": (
        "benchmarks.analyze.atlas",
        "many atlases, Dice; peers: one atlas, a network's card",
    ),
    "atlas.staple": ("benchmarks.analyze.atlas_fusion:staple_", "five raters; peer SimpleITK"),
    "atlas.tissues": (
        "benchmarks.analyze.atlas_tissues:run",
        "brain phantoms of known shares; peer scikit-learn",
    ),
    "cohort.permutation": (
        "benchmarks.analyze.cohort",
        "group effect at every voxel, max-T; peer nilearn",
    ),
    "radiomics": ("benchmarks.analyze.radiomics", "all features of lesions; peer pyradiomics"),
    "register.capture": (
        "benchmarks.register.capture",
        "random starts within 30 degrees and 40 mm; greedy, elastix, SimpleITK, ANTs",
    ),
    "register.hippocampus": (
        "benchmarks.register.hippocampus",
        "20 pairs of people, label overlap; the same peers",
    ),
    "register.open_ms": (
        "benchmarks.register.contrasts",
        "T1 and FLAIR under a known map; the same peers",
    ),
    "register.pairs": ("benchmarks.register.pairs", "real pairs, tissue overlap; the same peers"),
    "register.synthetic": (
        "benchmarks.register.synthetic",
        "128^3 under a known map; the same peers",
    ),
    "register.verdict": (
        "benchmarks.register.verdict",
        "planted failures caught, false alarms; peer: information rose",
    ),
    "segment.chan_vese": (
        "benchmarks.analyze.segment:chan_vese",
        "a front in noise, 2-D and 3-D; peers scikit-image, SimpleITK",
    ),
    "segment.graph_cut": ("benchmarks.analyze.segment:graph_cut", "exact flow; peer SciPy"),
    "segment.random_walker": (
        "benchmarks.analyze.segment:random_walker",
        "two labels, 2-D and 3-D; peer scikit-image",
    ),
    "shape.hippocampus": (
        "benchmarks.analyze.shape:hippocampus",
        "3-D shape search, cases left out; peer our network, or the mean shape",
    ),
    "shape.left_ventricle": (
        "benchmarks.analyze.shape:ventricle",
        "2-D shape search, patients left out; peer our network, or the mean shape",
    ),
    "query": ("benchmarks.archive.query", "QIDO p95 from 10^3 to 10^5 instances; peer: itself"),
    "viewer": (
        "benchmarks.viewer.first_image",
        "click to first image; peer OHIF",
    ),
    "learn.focus": ("benchmarks.learn.focus", "coarse, then fine; peer the fine model alone"),
    "learn.first": ("benchmarks.learn.first", "first answer of a model, no PyTorch; peer MONAI"),
    "learn.files": ("benchmarks.learn.files", "file to file with nnU-Net's network; peer nnU-Net"),
    "learn.infer3d": ("benchmarks.learn.infer3d", "4 M-weight U-Net on 192^3; peer MONAI"),
    "learn.train_step": ("benchmarks.learn.train_step", "batches and steps in 3-D; peer MONAI"),
    "ct.fbp": ("benchmarks.acquire.ct_fbp", "parallel FBP; peers ASTRA, scikit-image, algotom"),
    "ct.forward": ("benchmarks.acquire.ct_forward", "parallel projection; peer ASTRA (CPU)"),
    "ct.fan_fbp": ("benchmarks.acquire.ct_fan_fbp", "fan FBP; peer: our parallel FBP"),
    "ct.sirt": ("benchmarks.acquire.ct_sirt", "50 iterations of SIRT; peer ASTRA (CPU)"),
    "ct.fdk": ("benchmarks.acquire.ct_fdk", "cone beam; peer itk-rtk (CPU); cost per size"),
    "ct.scale": (
        "benchmarks.acquire.ct_scale",
        "cost per voxel-view, bounded memory; peer: itself",
    ),
    "ct.gpu": ("benchmarks.acquire.ct_gpu", "projections and FDK on CUDA; peers ASTRA, torch"),
    "xray.drr": ("benchmarks.acquire.xray_drr", "radiograph through a volume; peer itk-rtk (CPU)"),
    "us.das": ("benchmarks.acquire.us_das", "75 plane waves, 128 elements; pymust, ultraspy"),
    "us.live": ("benchmarks.acquire.us_live", "live probe, 3 filters, Chromium; peer: no filter"),
    "fmri.glm": ("benchmarks.acquire.fmri_glm", "linear model, OLS and AR(1); peer nilearn"),
    "fmri.realign": ("benchmarks.acquire.fmri_realign", "head motion; peer SimpleITK"),
    "fmri.smooth": ("benchmarks.acquire.fmri_smooth", "Gaussian, 6 mm; peer nilearn"),
    "mri.nufft": ("benchmarks.acquire.mri_nufft", "radial, 8 coils; peers SigPy, MRI-NUFFT"),
    "mri.espirit": ("benchmarks.acquire.mri_espirit", "coil sensitivities; peer SigPy"),
    "mri.gpu": ("benchmarks.acquire.mri_gpu", "radial, 8 coils, on CUDA; peer cuFFT alone"),
    "mri.sense": ("benchmarks.acquire.mri_sense", "CG-SENSE, 30 iterations; peer SigPy"),
    "mri.l1wavelet": ("benchmarks.acquire.mri_l1wavelet", "100 FISTA steps; peer SigPy"),
    "spect.osem": ("benchmarks.acquire.spect_osem", "OSEM with all corrections; peer PyTomography"),
    "pet.project": ("benchmarks.acquire.pet_project", "Joseph both ways; peer C/OpenMP by gcc"),
    "pet.osem": ("benchmarks.acquire.pet_osem", "a whole reconstruction; peer: the C projector"),
    "pet.listmode": ("benchmarks.acquire.pet_listmode", "10^4 to 10^8 events; peer: itself"),
}

KEYS = (
    "name", "case", "ours_ms", "peer", "peer_version", "peer_ms", "ratio",
    "quality_metric", "quality_ours", "quality_peer", "machine",
)  # fmt: skip


def machine() -> str:
    """Processor, cores and Python, in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def lines(name: str, *, small: bool) -> Iterator[dict[str, Any]]:
    """Run one benchmark; each line has all of `KEYS`."""
    module, _, function = NAMES[name][0].partition(":")
    run = getattr(importlib.import_module(module), function or "run")
    for measured in run(small=small):
        line = {**measured, "machine": machine()}
        missing = [k for k in KEYS if k not in line]
        if missing:
            raise KeyError(f"benchmark {name} left out {missing}")
        yield {k: line[k] for k in KEYS}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(NAMES))
    parser.add_argument("--list", action="store_true", help="names and what they compare")
    parser.add_argument("--json", action="store_true", help="one JSON line per case and peer")
    parser.add_argument("--small", action="store_true", help="smallest case, as in the tests")
    args = parser.parse_args()
    if args.list or args.name is None:
        for name, (_, text) in NAMES.items():
            print(f"{name:<8} {text}")
        return 0 if args.list else 2
    for line in lines(args.name, small=args.small):
        if args.json:
            print(json.dumps(line), flush=True)
        else:
            print(
                f"{line['name']} {line['case']}: ours {line['ours_ms']['median']:.1f} ms, "
                f"{line['peer']} {line['peer_version']} {line['peer_ms']['median']:.1f} ms, "
                f"ratio {line['ratio']:.2f}; {line['quality_metric']} "
                f"{line['quality_ours']} / {line['quality_peer']}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
