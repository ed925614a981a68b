"""The triple handshake (RFC 7627 section 1): mallory passes a fresh proof on in a renegotiated handshake.

Alice uses a server of mallory's own, whose certificate is right.

1. `first`: mallory keeps the secrets of alice's connection and of her own to the bank equal. She decrypts alice's
   premaster secret with her own server's key and encrypts the same one for the bank.
2. `resumed`: alice resumes that session. Nothing in that handshake depends on a certificate, so mallory passes all
   messages on as they are. Both connections have the same Finished messages, and she has the keys.
3. She writes a request of her own to the bank, which asks for a certificate by renegotiation. She passes that handshake
   on too. The two sides of RFC 5746 fit each other, and so does alice's proof. After it mallory has no keys any more,
   but the bank takes what it got before for alice's.

Mallory has her own server's key, and neither alice's nor the bank's.
"""
