"""Maps from series of images: relaxation times, field, diffusion."""
