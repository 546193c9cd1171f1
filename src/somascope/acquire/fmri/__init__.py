"""Functional MRI: from a run of volumes to motion, activation and connectivity."""
