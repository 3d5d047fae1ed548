"""Access to a finished run for training: its triplets in memory, and exports."""
