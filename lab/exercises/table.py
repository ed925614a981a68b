"""All exercises, in the order in which they are done. One row and one folder make an exercise."""

from lab.exercises.checks import (
    alerts,
    bundle,
    certificate,
    client,
    move,
    proof,
    real_server,
    rule,
    runs,
    server,
    tls13,
)
from lab.exercises.exercise import Exercise, ExerciseError

EXERCISES = (
    Exercise(
        1,
        "her-certificate",
        15,
        "A client's certificate is no secret: in TLS 1.2 it crosses the wire in plaintext.",
        "SHA-256",
        certificate.check,
    ),
    Exercise(
        2,
        "who-said-no",
        15,
        "The server refuses, in the handshake, and its alert says what was wrong with the proof.",
        "omit-proof=ALERT replay-proof=ALERT foreign-key=ALERT",
        alerts.check,
    ),
    Exercise(
        3,
        "verify-her-proof",
        30,
        "A proof is a signature over this one handshake, and anybody can check it.",
        "HASH",
        proof.check_hers,
    ),
    Exercise(
        4,
        "why-it-does-not-fit",
        25,
        "A replayed proof fails because the server puts something new into each handshake.",
        "HASH MESSAGE FIELD",
        proof.check_replayed,
    ),
    Exercise(
        5,
        "open-tls-1.3",
        20,
        "TLS 1.3 hides certificate and proof from all who lack the session's keys.",
        "NAMES SIGNATURE",
        tls13.check,
    ),
    Exercise(
        6,
        "what-never-left",
        20,
        "Key and certificate lie in one file, and only the certificate ever crosses the wire.",
        "PART OFFSET",
        bundle.check,
    ),
    Exercise(
        7,
        "a-careful-client",
        15,
        "A client that does not verify the server lends its proof to an attacker in between.",
        "[FILE]",
        needs="file",
        file="client.py",
        check_file=client.check,
    ),
    Exercise(
        8,
        "mend-the-server",
        20,
        "A check is worth what its result does.",
        "[FILE]",
        needs="file",
        file="server.py",
        check_file=server.check,
    ),
    Exercise(
        9,
        "a-move-of-your-own",
        30,
        "What a server does with a proof follows from what it checks, whatever the proof is.",
        "[FILE]",
        needs="file",
        file="move.py",
        check_file=move.check,
    ),
    Exercise(
        10,
        "a-rule",
        30,
        "An attack that a server refuses shows at the server, and a rule can tell it from a login.",
        "[FILE]",
        needs="file",
        file="rule.txt",
        check_file=rule.check,
    ),
    Exercise(
        11,
        "not-tls-1.3",
        15,
        "Certificates get out in other ways than the wire, so hiding them is not enough.",
        "[RUN]",
        runs.check_tls13,
        "run",
    ),
    Exercise(
        12,
        "issue-it-right",
        15,
        "With a certificate request nobody but the client ever has the key.",
        "[RUN]",
        runs.check_request,
        "run",
    ),
    Exercise(
        13,
        "a-real-server",
        20,
        "A real server checks the proof of all who send a certificate; you decide who must.",
        "[FILE]",
        needs="file",
        file="nginx.conf",
        check_file=real_server.check,
        more_files=real_server.keys,
    ),
)


def find_exercise(number: str) -> Exercise:
    """The exercise of this number or name; ExerciseError where there is none."""
    for one in EXERCISES:
        if number in (str(one.number), f"{one.number:02}", one.name, one.folder):
            return one
    known = ", ".join(str(one.number) for one in EXERCISES)
    raise ExerciseError(f"there is no exercise {number}; there are {known}")
