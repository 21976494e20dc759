"""A page for each stage: what you get, in four notations, what it changes, which attack it stops, its source."""
def pages(): return {}
