"""Computed tomography: projections to Hounsfield units."""
