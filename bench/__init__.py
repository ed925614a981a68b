"""Benches: how fast the lab is, side by side with other tools, in one run. Nothing fails on a time."""
