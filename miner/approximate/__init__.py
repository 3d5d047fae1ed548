"""Mining among nominees: the nearest rows that an approximate index finds. `open_approximate`."""
