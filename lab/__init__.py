"""The experimenter: issues bundles, starts the parts, judges, tells the story."""

__version__ = "0.1.0"
