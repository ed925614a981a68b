"""What the lab searches files for that leak: bytes that must not be in there."""

TRANSCRIPT_HASHES = "the hashes of the handshakes that alice's proofs sign"
PASSWORD = "alice's password"
