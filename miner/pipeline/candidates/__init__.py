"""Candidates of other retrievers: negatives are drawn only from the rows that they propose."""
