"""Runs on disk and in object storage: staging, publishing, manifest, shards, reading, pruning."""
