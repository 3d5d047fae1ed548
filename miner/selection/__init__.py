"""Which of the semi-hard and hard triplets are written: filters, caps, draws."""
