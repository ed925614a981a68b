"""The experimenter: issues bundles, starts the parts, judges, tells the story."""
