"""Skyloom: FITS images published the Virtual Observatory way, differences woven on demand."""

__version__ = "0.1.0"
