"""The attacker at a server that is not the bank's: her moves, and what the server answers to each."""
