"""Pixel algebra: numpy and numba on masked images; no IO, no log, no global state."""
