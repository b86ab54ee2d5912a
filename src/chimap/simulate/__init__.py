"""Simulated scans with known truth: signal equation, coils, noise, phantoms."""
