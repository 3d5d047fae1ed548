"""Who is relevant to whom: labels, lists of labels or links of scanned tables, as arrays."""
