"""Bytes of a network in, handshakes out."""
