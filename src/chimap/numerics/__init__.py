"""Transforms, kernels and solvers that the methods are made of. Arrays in, arrays out; no files."""
