"""Models that score a pair of texts together: cross-encoders, rerank servers and functions."""
