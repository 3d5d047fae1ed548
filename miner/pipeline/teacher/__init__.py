"""The teacher: a second model that scores the drawn triplets, and decides which are written.

`teachers` makes scores of pairs, `pool` holds the drawn triplets with their scores, `judge` writes
those that the rules of `miner.selection.teacher_rules` leave, and `stage` calls the others.
"""
