"""How the attacker comes between client and server."""
