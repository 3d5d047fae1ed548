"""The checks of `mine verify`; `run` calls them in order."""
