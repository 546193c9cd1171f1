"""Learning from examples: the only room with PyTorch."""
