"""The fast counting pass: float32 products, exact counts. `screen.open_screen`."""
