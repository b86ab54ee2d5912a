"""From a scan to its maps and report: stages, presets, resuming, provenance and the methods text."""
