"""Content to stored vectors: models, cache, store."""
