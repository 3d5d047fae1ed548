"""A run on disk: staging, commit, manifest, shards, opening, pruning."""
