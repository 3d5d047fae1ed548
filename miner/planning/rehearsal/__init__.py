"""A short rehearsal of a job on this machine, for `mine plan`."""
