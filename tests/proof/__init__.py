"""Does mining help? Small models are trained on what it wrote, and held against what else there is."""
