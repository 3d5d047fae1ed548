"""The exact pass in PyTorch, on a GPU: products of tiles, counts, lists."""
