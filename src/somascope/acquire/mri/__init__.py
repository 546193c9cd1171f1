"""Magnetic resonance: k-space to images and maps."""
