"""Export the triplets of a finished run in the usual formats of trainers.

`export` calls the others: `triplets` streams the rows anchor by anchor, `formats` makes the columns
from the distinct passages of an anchor or of a pair, `ids` streams ids, and `writing` writes the
folder.
"""
