"""The checks of `mine verify`; `run` says in which order."""
