"""The tables: what the lab knows before anything runs; data only."""
