"""Readers: one file a format. `source.open_source` is the door."""
