"""Stages, presets, run, resume, provenance, methods text."""
