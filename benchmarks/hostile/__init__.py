"""Hostile input, at length: ``python -m benchmarks.hostile requests|files``."""
