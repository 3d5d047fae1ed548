"""Embedding models: the base class, and one module per family. Start at `load.load_model`."""
