"""Sums over sampled points: those of the linear part, on tensors."""
