"""Whether a server of yours checks possession of the key: the controls, the attacker, and what follows from both."""
