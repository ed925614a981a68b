"""An instrument for TLS handshakes. It is not a TLS library and it protects nothing.

It exists because a real TLS stack cannot leave out a CertificateVerify, send somebody else's, or skip checking one.
Bytes go in; events and bytes come out. There are no sockets here but in `streams`, no clocks, and no randomness that
wasn't given, so the same code serves the attacker's client, the gullible gateways, the reading of captures and tests.
"""
