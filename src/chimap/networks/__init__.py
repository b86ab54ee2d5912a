"""Trained networks: weights as ONNX files with their model cards, run tile by tile."""
