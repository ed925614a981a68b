"""What the parts of the lab report, on disk and in memory."""
