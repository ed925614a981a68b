require 'socket'
require 'openssl'
context = OpenSSL::SSL::SSLContext.new
context.min_version = :TLS1_2
context.cert = OpenSSL::X509::Certificate.new(File.read('@SERVER@'))
context.key = OpenSSL::PKey.read(File.read('@KEY@'))
context.session_id_context = 'bank'
context.ca_file = '@CA@'
context.verify_mode = OpenSSL::SSL::VERIFY_PEER | OpenSSL::SSL::VERIFY_FAIL_IF_NO_PEER_CERT
listener = TCPServer.new('127.0.0.1', @PORT@)
loop do
  Thread.new(listener.accept) do |connection|
    tls = OpenSSL::SSL::SSLSocket.new(connection, context)
    tls.sync_close = true
    tls.accept
    tls.gets("\r\n\r\n")
    body = tls.peer_cert.subject.to_s
    tls.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
    tls.close
  rescue StandardError => e
    warn e.message
    connection.close
  end
end
