"""Compiled loops. The only place that imports numba."""
