"""Dipole inversion, one file a method."""
