"""Embedding of content: models, the vector cache, and stores of embedded data sets."""
