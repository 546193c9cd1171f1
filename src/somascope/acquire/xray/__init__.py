"""Projection radiography: detector counts to an image for presentation."""
