"""What the lab calls in a student's file, by the kind of file: the function, and its parameters."""

from typing import TypeAlias

Wanted: TypeAlias = tuple[str, str]

CHECK: Wanted = ("check_proof", "certificate, challenge, answer")
"""Of a server: looks at a client's proof, and raises Refuse where it must not be let in."""
PROVE: Wanted = ("prove", "certificate, captured, challenge")
"""Of a move: what mallory sends as a proof; None for nothing. `NAME` and `FAILS` go with it."""
CONTEXT: Wanted = ("make_context", "ca_file")
"""Of a client: the ssl.SSLContext with which it talks to the bank."""
