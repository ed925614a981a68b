"""Ways to show what the lab has to say."""
