"""Readers of data sets: items and their relevance, from files. Start at `source.open_source`."""
