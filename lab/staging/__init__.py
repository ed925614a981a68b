"""How a run is set up and carried out."""
