"""The bank, and the gateways in front of it."""
