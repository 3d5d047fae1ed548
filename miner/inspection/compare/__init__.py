"""What moved between two finished runs."""
