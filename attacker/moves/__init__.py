"""How a move is made and carried out."""
