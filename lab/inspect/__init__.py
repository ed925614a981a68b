"""Single files: captures and bundles, for people."""
