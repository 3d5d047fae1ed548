"""The walk over the matrix of keys: `census.Census` makes blocks that the reductions read."""
