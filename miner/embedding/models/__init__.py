"""Embedding models: a base, and one file a family. `load.load_model` is the door."""
