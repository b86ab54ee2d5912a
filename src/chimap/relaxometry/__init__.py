"""Relaxation rates from the magnitude: R2*, T2*."""
