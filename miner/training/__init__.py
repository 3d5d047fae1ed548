"""What training loops take from a finished run: its triplets in memory, and exports."""
