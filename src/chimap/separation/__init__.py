"""Separation of paramagnetic from diamagnetic sources: one file a method."""
