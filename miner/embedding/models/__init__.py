"""Embedding models: a base, and one file a family. `base.load_model` is the door."""
