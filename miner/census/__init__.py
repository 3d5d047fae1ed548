"""The census: counts of all triplets of each anchor, and statistics."""
