"""Items and who is relevant to whom, from files. `source.open_source` is the door."""
