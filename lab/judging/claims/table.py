"""The claims, in the order of the discussion, each with the query on a run that settles it."""

from lab.catalogue.leaks import ARCHIVE, DATABASE, INTERCEPTION, LEAKS, LIVE_RELAY, LOG, REQUESTS, ROGUE_SERVER, WIRE
from lab.judging.claims import keys, passwords, possession, wire
from lab.judging.claims.claim import Claim
from lab.judging.claims.evidence import BLIND, CHECKING, NOT_WHOSE

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "client-sends-a-hash",
        (1,),
        "The client signs the handshake so far and sends the resulting hash.",
        "Each captured proof is checked as a signature by the certificate's key. Its bytes and the capture are "
        "searched for the hash that was signed.",
        possession.client_sends_a_hash,
        leaks=((WIRE,),),
    ),
    Claim(
        "checking-adds-nothing",
        (2,),
        "Key and certificate are stored together: a thief of one has the other, so checking the key adds nothing.",
        "Is the key anywhere in the capture that has the certificate? What opens with the certificate alone?",
        possession.checking_adds_nothing,
        leaks=((WIRE,),),
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "needed-with-its-own-issuer",
        (10, 3),
        "The check is needed where the server itself issued the self-signed certificate, too.",
        "The bank knows the self-signed certificates that it issued. Every leak and every move at gateways of the same "
        "implementation that differ in one thing: whether they check the proof.",
        possession.needed_with_its_own_issuer,
        schemes=(CHECKING[1:], BLIND[1:]),
    ),
    Claim(
        "one-connection-is-enough",
        (5,),
        "Eavesdropping on one connection is enough to have the certificate, self-signed or not; logs may have it too.",
        "What a listener reads in one login with each kind of certificate, and what an access log has, is tried where "
        "the certificate alone is checked.",
        wire.one_connection_is_enough,
        leaks=((WIRE,), (LOG,)),
        schemes=(BLIND[:1], BLIND[1:]),
    ),
    Claim(
        "server-tls-protects",
        (6,),
        "The server authenticates itself by TLS, so a man in the middle never gets to see the client's certificate.",
        "Alice verifies the bank in every login, in TLS 1.2 and in 1.3; does a listener or an interceptor have her "
        "certificate nevertheless?",
        wire.server_tls_protects,
        leaks=((WIRE,), (INTERCEPTION,)),
    ),
    Claim(
        "key-can-be-passed-on-too",
        (7,),
        "A client that passes on its certificate may just as well pass on its key.",
        "The control: the attack code with alice's key, everywhere the proof is checked.",
        keys.key_can_be_passed_on_too,
        schemes=(CHECKING,),
    ),
    Claim(
        "every-server-could-impersonate",
        (9,),
        "Every server that was ever shown the certificate could impersonate its owner.",
        "A shop that alice properly verified keeps what she showed and tries it at the bank.",
        possession.every_server_could_impersonate,
        leaks=((ROGUE_SERVER,),),
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "same-as-a-password",
        (11,),
        "A certificate used alone has the same security properties as a password.",
        "Alice has a password as well, which the bank keeps hashed by scrypt. The two are compared by "
        f"{len(passwords.WHERE)} of the {len(LEAKS)} leaks. The live relay and the archives of bundles and of requests "
        "are left out: no password ever gets there.",
        passwords.same_as_a_password,
        leaks=(passwords.SEARCHED,),
        schemes=(BLIND, ("password",)),
    ),
    Claim(
        "shown-to-nobody-else",
        (12,),
        "The client shows its certificate to nobody but the server that issued it.",
        "Alice logs in and verifies every server. Who else has her certificate after that: by the wire, a shop, a log, "
        "the issuer's own files?",
        keys.shown_to_nobody_else,
        leaks=(keys.CAREFUL_LEAKS,),
    ),
    Claim(
        "only-the-issuer-is-fooled",
        (12,),
        "Nobody but the server that issued the certificate could be fooled with it.",
        "A shop keeps what alice shows it, and tries it at gateways that trust an authority and at the issuer's own.",
        possession.only_the_issuer_is_fooled,
        leaks=((ROGUE_SERVER,),),
        schemes=(BLIND[:1], BLIND[1:]),
    ),
    Claim(
        "key-never-goes-to-the-server",
        (13,),
        "The key never goes to the server; the client's TLS library is given it and does not pass it on.",
        "What mallory captured on the wire is searched for the keys in alice's bundles, in their usual forms, and for "
        "her certificate, which must be there. Her own session keys show which messages she sent in the handshakes of "
        "TLS 1.3.",
        keys.key_never_goes_to_the_server,
        leaks=((WIRE,),),
    ),
    Claim(
        "self-signed-is-useless",
        (14,),
        "Authenticating clients with self-signed certificates is useless: no authority vouches for them.",
        "The bank knows the self-signed certificates that it issued, and checks the proof.",
        possession.self_signed_is_useless,
        schemes=(CHECKING[1:],),
    ),
    Claim(
        "database-is-a-liability",
        (15,),
        "Certificates used as passwords make the server's list of them a liability, like passwords in the clear.",
        "The bank's register leaks; every customer in it is tried where the certificate alone is checked and where "
        "the proof is checked.",
        possession.database_is_a_liability,
        leaks=((DATABASE,),),
        schemes=(BLIND[1:], CHECKING[1:]),
    ),
    Claim(
        "privacy-but-not-identity",
        (16,),
        "A leaked certificate costs its owner privacy, but not her identity.",
        "Every leak and every move without the key, where the proof is checked and where only the certificate is "
        "checked.",
        possession.privacy_but_not_identity,
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "issuer-has-the-key",
        (17, 5),
        "The issuer had to have the client's private key.",
        "The files of an issuer leak: of one that made the keys and kept what it handed out, and of one that signed a "
        "certificate request.",
        keys.issuer_has_the_key,
        leaks=((ARCHIVE,), (REQUESTS,)),
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "server-needs-no-keys",
        (18,),
        "The server need not know its clients' public keys: it is enough that the right authority signed the "
        "certificate.",
        "Alice has a certificate issued while the gateways are running already, and logs in with it.",
        keys.server_needs_no_keys,
        leaks=((REQUESTS,),),
        schemes=(CHECKING[:1],),
    ),
    Claim(
        "certificate-in-the-clear",
        (19,),
        "In TLS 1.2 the client's Certificate message is not encrypted.",
        "A passive listener on alice's way to the bank reads what she sends.",
        wire.certificate_in_the_clear,
        leaks=((WIRE,),),
    ),
    Claim(
        "not-encrypted-because-of-rsa",
        (20,),
        "TLS 1.2 does not encrypt the client's Certificate because RSA would cost too much.",
        "The order of the captured messages: are there keys yet when the certificate is sent? Is it encrypted where no "
        "RSA takes part?",
        wire.not_encrypted_because_of_rsa,
        leaks=((WIRE,),),
    ),
    Claim(
        "tls13-encrypts",
        (21,),
        "TLS 1.3 encrypts the client's Certificate.",
        "The same client over TLS 1.3, and a search of the capture for her certificate.",
        wire.tls13_encrypts,
        leaks=((WIRE,),),
    ),
    Claim(
        "tls13-is-unauthenticated",
        (22,),
        "In TLS 1.3 that encryption is not authenticated yet, so a man in the middle can still get the certificate.",
        "mitmproxy in the bank's place, asking a careful client and a careless one for their certificates.",
        wire.tls13_is_unauthenticated,
        leaks=((INTERCEPTION,),),
    ),
    Claim(
        "tls13-makes-it-irrelevant",
        (23,),
        "With TLS 1.3 the question is irrelevant.",
        "What leaks in TLS 1.3, to an interceptor and to a shop, and what it opens.",
        wire.tls13_makes_it_irrelevant,
        leaks=((INTERCEPTION, ROGUE_SERVER),),
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "tls13-needs-the-proof",
        (23,),
        "In TLS 1.3 the proof is needed: nothing in the key exchange keeps somebody from impersonating the client.",
        "Every leak and every move in TLS 1.3, where the proof is checked and where the certificate alone is checked.",
        wire.tls13_needs_the_proof,
        schemes=(CHECKING, BLIND),
    ),
    Claim(
        "proof-can-be-passed-on",
        (),
        "A man in the middle could pass the proof on while it is fresh, so checking it does not help against him.",
        "A careless client's fresh proof goes into mallory's own handshake, also where both sides share all keys. With "
        "certreplay triple-handshake --run a careful client's goes into a renegotiated one.",
        possession.proof_can_be_passed_on,
        leaks=((LIVE_RELAY,),),
        schemes=(CHECKING,),
        beyond_the_plan=True,
    ),
    Claim(
        "any-proof-is-enough",
        (),
        "A server that checks a proof of possession lets nobody in under a name without the key that goes with it.",
        "Every leak and every move without the key, where a proof is checked and held against the name, and where it "
        "is checked alone.",
        possession.any_proof_is_enough,
        schemes=(CHECKING, NOT_WHOSE),
    ),
)
