"""All benchmarks: ``python -m benchmarks``."""

from benchmarks import bench_mask, speed

speed.main([])
bench_mask.main()
