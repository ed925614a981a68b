use strict;
use warnings;
use IO::Socket::SSL;
$SIG{CHLD} = 'IGNORE';
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => @PORT@, Listen => 100, ReuseAddr => 1) or die;
while (my $connection = $listener->accept) {
    next if fork;
    my $tls = IO::Socket::SSL->start_SSL($connection, SSL_server => 1, SSL_version => 'SSLv23:!SSLv2:!SSLv3:!TLSv1:!TLSv1_1',
        SSL_cert_file => '@SERVER@', SSL_key_file => '@KEY@', SSL_ca_file => '@CA@',
        SSL_verify_mode => SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
    if (!$tls) { warn "$SSL_ERROR\n"; exit }
    while (my $line = <$tls>) { last if $line =~ /^\r?\n$/ }
    my $body = $tls->peer_certificate('commonName');
    print $tls "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $tls;
    exit;
}
