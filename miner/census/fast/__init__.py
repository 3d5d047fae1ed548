"""The fast counting pass: float32 products, exact counts. `counter.open_screen`."""
