"""`mine compare`: the differences between two finished runs, and which is better."""
