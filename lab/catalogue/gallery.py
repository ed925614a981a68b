"""The gallery: server programs that we did not write, each set up to let in who has a certificate and its key.

Its configuration is in `victim_server/gallery`, in a folder of the server's own; `@NAME@` stands there for what differs
from run to run. `certreplay gallery` runs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RealServer:
    """One of them.

    `tls` is the library that does the handshake. `packages` are Debian's. `command` is a shell's; `prepare` is another
    that comes first. `program` is a command, or a file that must be there; `version` prints its version. `speaks` is
    what to say to it, as `certreplay try` takes it: `http`, `send` or a protocol of `--starttls`. `asks` is the option
    that makes it check the client, and `default` what it does without.
    """

    id: str
    title: str
    tls: str
    packages: tuple[str, ...]
    program: str
    command: str
    version: str
    asks: str
    default: str
    speaks: str = "http"
    send: str = ""
    user: str = ""
    path: str = "/"
    prepare: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    """More of what `@NAME@` stands for: where a package puts its modules."""
    other_name: str = ""
    """Another name of the server, under which it trusts another CA (`@OTHER_CA@`); empty if it has none."""
    prints_paths: bool = False
    """Whether it prints `served PATH` for each request, so that the move `prefix` can be tried."""


NO_CERTIFICATE = "asks for no certificate"
_LIGHTTPD_VERSION = (
    """echo "$(lighttpd -v | cut -d' ' -f1), $(dpkg-query -W -f '${{Package}} ${{Version}}' """
    """$(dpkg-query -W -f '${{Depends}}' {module} | grep -o '{library}[0-9a-z]*'))\""""
)
"""It does not tell which version its module's library has. Debian's package of that library does."""

GALLERY: tuple[RealServer, ...] = (
    RealServer(
        "nginx",
        "nginx",
        "OpenSSL",
        ("nginx",),
        "nginx",
        "exec nginx -e @FOLDER@/server.log -p @FOLDER@ -c nginx.conf",
        "nginx -v",
        "ssl_verify_client on",
        NO_CERTIFICATE,
    ),
    RealServer(
        "apache2",
        "Apache httpd, mod_ssl",
        "OpenSSL",
        ("apache2",),
        "apache2",
        "exec apache2 -X -d @FOLDER@ -f @FOLDER@/apache2.conf",
        "apache2 -v",
        "SSLVerifyClient require",
        NO_CERTIFICATE,
        path="/index.html",
        places={"MODULES": "/usr/lib/apache2/modules"},
    ),
    RealServer(
        "haproxy",
        "HAProxy",
        "OpenSSL",
        ("haproxy",),
        "haproxy",
        "exec haproxy -db -f haproxy.cfg",
        "haproxy -v",
        "verify required",
        NO_CERTIFICATE,
    ),
    RealServer(
        "caddy",
        "Caddy",
        "Go",
        ("caddy",),
        "caddy",
        "HOME=@FOLDER@ exec caddy run --adapter caddyfile --config Caddyfile",
        "caddy version",
        "client_auth mode require_and_verify",
        NO_CERTIFICATE,
    ),
    RealServer(
        "hitch",
        "hitch, before an HTTP server",
        "OpenSSL",
        ("hitch",),
        "hitch",
        "exec @AS_NOBODY@ hitch --config=hitch.conf",
        "hitch --version",
        "client-verify = required",
        NO_CERTIFICATE,
    ),
    RealServer(
        "stunnel",
        "stunnel, before an HTTP server",
        "OpenSSL",
        ("stunnel4",),
        "stunnel",
        "exec stunnel stunnel.conf",
        "stunnel -version",
        "verifyChain = yes, requireCert = yes",
        NO_CERTIFICATE,
    ),
    *(
        RealServer(
            f"lighttpd-{library.lower()}",
            f"lighttpd, mod_{library.lower()}",
            library,
            ("lighttpd", f"lighttpd-mod-{library.lower()}"),
            f"/usr/lib/lighttpd/mod_{library.lower()}.so",
            "exec lighttpd -D -f lighttpd.conf",
            _LIGHTTPD_VERSION.format(module=f"lighttpd-mod-{library.lower()}", library=begin),
            "ssl.verifyclient.activate and ssl.verifyclient.enforce",
            NO_CERTIFICATE,
        )
        for library, begin in (("OpenSSL", "libssl"), ("GnuTLS", "libgnutls"), ("wolfSSL", "libwolfssl"))
    ),
    RealServer(
        "node",
        "Node",
        "OpenSSL",
        ("nodejs",),
        "node",
        "exec node server.js",
        "node --version",
        "requestCert: true, rejectUnauthorized: true",
        NO_CERTIFICATE,
    ),
    RealServer(
        "erlang",
        "Erlang",
        "Erlang",
        ("erlang-base", "erlang-ssl"),
        "escript",
        "exec escript server.escript",
        "erl -noshell -eval 'io:format(\"~s~n\", [erlang:system_info(otp_release)]), halt().'",
        "{verify, verify_peer}, {fail_if_no_peer_cert, true}",
        NO_CERTIFICATE,
    ),
    RealServer(
        "ruby",
        "Ruby",
        "OpenSSL",
        ("ruby",),
        "ruby",
        "exec ruby server.rb",
        "ruby --version",
        "VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT",
        NO_CERTIFICATE,
    ),
    RealServer(
        "perl",
        "Perl, IO::Socket::SSL",
        "OpenSSL",
        ("libio-socket-ssl-perl",),
        "/usr/share/perl5/IO/Socket/SSL.pm",
        "exec perl server.pl",
        "perl -MIO::Socket::SSL -e 'print $IO::Socket::SSL::VERSION'",
        "SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT",
        NO_CERTIFICATE,
    ),
    RealServer(
        "java",
        "Java, com.sun.net.httpserver",
        "Java",
        ("default-jdk-headless", "openssl"),
        "javac",
        "exec java Server.java",
        "java --version",
        "setNeedClientAuth(true)",
        NO_CERTIFICATE,
        prepare=(
            "openssl pkcs12 -export -in @SERVER@ -inkey @KEY@ -out @FOLDER@/server.p12 -passout pass:gallery -name own"
        ),
        places={"P12": "@FOLDER@/server.p12"},
    ),
    RealServer(
        "openssl",
        "openssl s_server",
        "OpenSSL",
        ("openssl",),
        "openssl",
        "exec openssl s_server -accept 127.0.0.1:@PORT@ -cert @SERVER@ -CAfile @CA@ -www "
        "-Verify 1 -verify_return_error",
        "openssl version",
        "-Verify 1 -verify_return_error",
        "-Verify 1 alone takes any certificate",
    ),
    RealServer(
        "gnutls",
        "gnutls-serv",
        "GnuTLS",
        ("gnutls-bin",),
        "gnutls-serv",
        "exec gnutls-serv --http --port @PORT@ --x509certfile @SERVER@ --x509keyfile @KEY@ --x509cafile @CA@ "
        "--require-client-cert --verify-client-cert",
        "gnutls-serv --version",
        "--require-client-cert --verify-client-cert",
        "--require-client-cert alone takes any certificate",
    ),
    RealServer(
        "redis",
        "Redis",
        "OpenSSL",
        ("redis-server",),
        "redis-server",
        "exec redis-server redis.conf",
        "redis-server --version",
        "tls-auth-clients yes",
        "with TLS: asks for a certificate and checks it",
        speaks="send",
        send="PING\r\n",
    ),
    RealServer(
        "mosquitto",
        "Mosquitto (MQTT)",
        "OpenSSL",
        ("mosquitto",),
        "mosquitto",
        "exec mosquitto -c mosquitto.conf",
        "mosquitto -h",
        "require_certificate true",
        NO_CERTIFICATE,
        speaks="send",
        send="\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc",
    ),
    RealServer(
        "postgres",
        "PostgreSQL",
        "OpenSSL",
        ("postgresql",),
        "/usr/lib/postgresql/*/bin/postgres",
        "exec @AS_NOBODY@ /usr/lib/postgresql/*/bin/postgres -D @FOLDER@/data -c config_file=@FOLDER@/postgresql.conf",
        "/usr/lib/postgresql/*/bin/postgres --version",
        "hostssl ... cert in pg_hba.conf",
        NO_CERTIFICATE,
        speaks="postgres",
        user="alice",
        prepare=(
            "@AS_NOBODY@ /usr/lib/postgresql/*/bin/initdb -D @FOLDER@/data --no-sync -U postgres --auth=trust && "
            "printf 'CREATE ROLE alice LOGIN;\\nCREATE DATABASE alice;\\n' | "
            "@AS_NOBODY@ /usr/lib/postgresql/*/bin/postgres --single -D @FOLDER@/data postgres"
        ),
    ),
    RealServer(
        "mariadb",
        "MariaDB",
        "OpenSSL",
        ("mariadb-server",),
        "mariadbd",
        "exec @AS_NOBODY@ mariadbd --defaults-file=@FOLDER@/my.cnf",
        "mariadbd --version",
        "REQUIRE SUBJECT for the user",
        NO_CERTIFICATE,
        speaks="mysql",
        user="alice",
        prepare="@AS_NOBODY@ mariadb-install-db --no-defaults --datadir=@FOLDER@/data --skip-test-db",
    ),
    RealServer(
        "slapd",
        "OpenLDAP",
        "GnuTLS",
        ("slapd",),
        "slapd",
        "exec slapd -d stats -f slapd.conf -h ldap://127.0.0.1:@PORT@",
        "slapd -VV",
        "TLSVerifyClient demand",
        NO_CERTIFICATE,
        speaks="ldap",
    ),
    RealServer(
        "dovecot",
        "Dovecot (IMAP)",
        "OpenSSL",
        ("dovecot-imapd",),
        "dovecot",
        "case $(dovecot --version) in 2.3*) of=dovecot;; *) of=dovecot-2.4;; esac; exec dovecot -F -c $of.conf",
        "dovecot --version",
        "ssl_verify_client_cert, auth_ssl_require_client_cert",
        NO_CERTIFICATE,
        speaks="imap",
    ),
    RealServer(
        "postfix",
        "Postfix (SMTP)",
        "OpenSSL",
        ("postfix",),
        "postfix",
        "exec /usr/lib/postfix/sbin/master -c @FOLDER@ -d",
        "postconf -d mail_version",
        "smtpd_tls_req_ccert = yes",
        NO_CERTIFICATE,
        speaks="smtp",
        prepare="mkdir -p @FOLDER@/spool @FOLDER@/lib && chown postfix @FOLDER@/lib && postfix -c @FOLDER@ check",
    ),
)
"""In the order in which they are told."""


def find_server(server_id: str) -> RealServer | None:
    """The server with that id."""
    return next((server for server in GALLERY if server.id == server_id), None)
