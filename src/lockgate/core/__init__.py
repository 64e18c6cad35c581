"""The judgement: pure functions and values over stdlib, numpy, scipy and sklearn.metrics.

No clock, disk, network, orchestrator or registry is reachable from here; import-linter enforces it.
"""
