"""How a certificate comes into the attacker's hands."""
