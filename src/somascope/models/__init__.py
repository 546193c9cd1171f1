"""Trained models, run without PyTorch: an ONNX graph, a card, and an engine."""
