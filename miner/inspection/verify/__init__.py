"""The checks of `mine verify`, one file a subject; `run` says in which order."""
