"""Mallory: position, capture, moves, replay. Knows nothing that the wire did not tell it."""
