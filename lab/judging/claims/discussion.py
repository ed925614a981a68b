"""The discussion that the claims come from: every point of it in our words, with who makes it."""

from dataclasses import dataclass

QUESTIONER, QUESTIONER_LATER = "the questioner", "the questioner, in a comment"
FIRST, FIRST_LATER = "the first answer", "the first answer's author, in a comment"
SECOND, THIRD = "the second answer", "the third answer"
COMMENT, COMMENTS = "a comment", "comments"
THE_LAB = "this lab; nobody says it in the discussion"


@dataclass(frozen=True)
class Point:
    """A point of the discussion. `unsettled` says why no experiment settles it, or what of it none does; empty if the
    claims settle all of it."""

    number: int
    by: str
    point: str
    unsettled: str = ""


DISCUSSION: tuple[Point, ...] = (
    Point(
        1,
        QUESTIONER,
        "The client sends its certificate, signs the handshake so far and sends the resulting hash. What is the "
        "benefit, and how can a certificate be compromised while the key is not?",
    ),
    Point(2, QUESTIONER, "Key and certificate are handed out and kept together, so checking the key adds nothing."),
    Point(
        3,
        QUESTIONER,
        "Is the check worth anything where the server itself issues its clients' certificates, self-signed?",
    ),
    Point(
        4,
        COMMENT,
        "A certificate is public by design; if it could be kept secret, one could as well share a secret key.",
        "It says what certificates are meant for, which is a decision of those who designed them (RFC 5280), and what "
        "one would rather design. What follows is settled: how a certificate gets out, and how it does as a secret.",
    ),
    Point(
        5,
        COMMENTS,
        "Eavesdropping on one connection is enough to have it, self-signed or not; it may also turn up in logs. And "
        "how would it be shared securely in the first place?",
    ),
    Point(6, QUESTIONER_LATER, "The server's TLS protects the connection before the certificate is sent."),
    Point(7, QUESTIONER_LATER, "An irresponsible client may pass on the certificate, but just as well the key."),
    Point(
        8,
        FIRST,
        "A certificate binds a name to a public key; to show it without using the key is to show a copy of somebody's "
        "ID without one's face.",
        "It is a definition (RFC 5280 section 4.1) and a comparison. What it stands for is settled at every gateway: "
        "what a copy opens where nobody looks at the face, and where somebody does.",
    ),
    Point(9, FIRST, "If showing it were enough, every server that has seen it could impersonate its owner elsewhere."),
    Point(10, FIRST, "The check is needed with a private or self-signed issuer too."),
    Point(
        11,
        FIRST,
        "Without the cryptography one might use name and password: simpler, and the same security properties.",
        "Which of the two is simpler is a matter of taste. The security properties are settled.",
    ),
    Point(
        12,
        QUESTIONER_LATER,
        "My certificate goes to nobody but the server that issued it, and that server cannot use it anywhere else.",
    ),
    Point(13, FIRST_LATER, "The key never goes to the server; curl is given it and does not pass it on."),
    Point(14, FIRST_LATER, "Client authentication with a self-signed certificate is useless."),
    Point(
        15,
        SECOND,
        "Certificates as passwords make the server keep a large list of secrets, to be replicated, backed up and kept "
        "from leaking; several servers are as safe as the weakest.",
        "How much work a list is to keep, and how many servers have a copy, depends on who runs them. What a leaked "
        "copy is worth is settled, and a copy from the weakest server is the same bytes.",
    ),
    Point(16, SECOND, "A leaked certificate may cost privacy, but impersonates nobody."),
    Point(
        17,
        SECOND,
        "The issuer had to have the key if it made it, but may delete it; or the client made it, and the issuer never "
        "had it.",
    ),
    Point(
        18,
        SECOND,
        "The server need not even know the public keys: it is enough that the right authority signed the certificate.",
    ),
    Point(
        19,
        THIRD,
        "In TLS 1.2 the client's Certificate message is not encrypted, which makes a self-issued one as public as any.",
    ),
    Point(20, THIRD, "A guess: it is not encrypted because of RSA's cost."),
    Point(21, THIRD, "TLS 1.3 encrypts it."),
    Point(22, THIRD, "But without authentication at that stage, so a man in the middle could still get it."),
    Point(
        23,
        THIRD,
        "In TLS 1.3 key exchange and certificates are decoupled, so the question becomes irrelevant; and there the "
        "proof is needed, as nothing in the key exchange keeps somebody from impersonating the client.",
    ),
)


def source(points: tuple[int, ...]) -> str:
    """Who makes a claim that settles these points: who makes the first of them."""
    return next((point.by for point in DISCUSSION if point.number in points[:1]), THE_LAB)
