"""A judged run, for people."""
