"""The checks of `mine verify`, one file a subject; `miner.verify` says in which order."""
