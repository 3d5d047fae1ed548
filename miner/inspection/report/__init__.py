"""The page that says what a run found: facts, figures, advice and a gallery in one HTML file."""
