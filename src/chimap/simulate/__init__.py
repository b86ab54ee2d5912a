"""Simulated scans with known truth: signal equation, coils, noise, phantoms.

>>> phantom = head_phantom((2 / 3,) * 3)
>>> acq = Acquisition(te_s=(0.004, 0.012, 0.020), b0_t=3.0)
>>> scan = simulate_scan(phantom, acq, snr=60)
>>> write_bids(scan, acq, "simulated")
"""

from chimap.simulate.analytic import AnalyticPhantom, cylinder, flask, sphere
from chimap.simulate.dataset import write_bids, write_flat
from chimap.simulate.head import head_phantom
from chimap.simulate.phantom import Phantom
from chimap.simulate.scan import SimulatedScan, simulate_scan

__all__ = [
    "AnalyticPhantom",
    "Phantom",
    "SimulatedScan",
    "cylinder",
    "flask",
    "head_phantom",
    "simulate_scan",
    "sphere",
    "write_bids",
    "write_flat",
]
