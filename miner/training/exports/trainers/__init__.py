"""What each trainer reads: one file for each, with the functions that make its rows."""
