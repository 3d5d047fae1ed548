"""Keys counted and found by rank without sorting them, for writing triplets. `sieve.Sieve`."""
