"""Strategies: one module for each value of ``select.strategy``; `base` has the registry."""
