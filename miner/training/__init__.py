"""What training loops read a finished run by: its rows in the order of an epoch, and by batch."""
