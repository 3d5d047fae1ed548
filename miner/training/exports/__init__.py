"""What trainers take from a finished run: the usual formats, in folders of their own.

`triplets` streams a run's rows by whole anchors, `formats` finds the distinct passages of an anchor
or of a pair and makes the columns, `writing` the folder. `export` leads these.
"""
