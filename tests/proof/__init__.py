"""Does mining help? Small models trained on mined triplets and in other ways, compared."""
