"""Does mining help? Small models trained on what it wrote, beside other ways to train."""
