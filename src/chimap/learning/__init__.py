"""Training of networks on synthetic scans. Needs the extra `learning` (torch, onnx); inference does not, see `chimap.networks`."""
