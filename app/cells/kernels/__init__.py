"""Compiled code. Nothing outside :mod:`app.cells` imports it, and its drivers only when rows are
to be written: importing numba takes half a second, compiling anew ten."""
