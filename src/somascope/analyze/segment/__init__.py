"""Segmentation without learning: an image, and where a hand has pointed, in; a mask out."""
