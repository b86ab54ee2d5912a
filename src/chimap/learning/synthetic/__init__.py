"""Random objects with known susceptibility, and what a scan of them gives: training data made on the fly.

No head that was ever scanned goes in: shapes, textures, tissue values and acquisitions are drawn at random, so that a
network meets more than any one anatomy. The same generator state gives the same sample.
"""

from chimap.learning.synthetic.measure import LocalSample, local_sample
from chimap.learning.synthetic.scene import Scene, random_scene

__all__ = ["LocalSample", "Scene", "local_sample", "random_scene"]
