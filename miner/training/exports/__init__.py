"""Export the triplets of a finished run in the usual formats of trainers.

`export` calls the others: `catalog` lists the formats, `triplets` streams the rows anchor by
anchor, `groups` finds the distinct passages of an anchor or of a pair, `trainers` has a file for
each trainer, which makes the rows of its formats, `ids` streams ids, `writing` writes the folder,
and `hub` pushes it.
"""
