"""Alice: logs in with her bundle, again and again, as an ordinary HTTP client does."""
