"""`make run`: the whole panel on this machine, for trying it out."""
