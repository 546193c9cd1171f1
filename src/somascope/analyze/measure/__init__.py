"""Measurements of what a mask shows, each with what the voxels' size leaves unsure."""
