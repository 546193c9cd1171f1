"""Acquisition: reconstruction and projection against named peers."""
