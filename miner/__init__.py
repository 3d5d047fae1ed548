"""Offline triplet miner."""
__version__ = "0.1.0"
