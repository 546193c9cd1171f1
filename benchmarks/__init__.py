"""Interleaved comparisons with named peers. ``python -m benchmarks --list``."""
