"""Which voxels are the object: brain extraction, phase quality, morphology."""
