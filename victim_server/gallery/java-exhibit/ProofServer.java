import java.io.FileInputStream;
import java.io.InputStream;
import java.net.InetAddress;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import java.security.cert.CertificateFactory;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class ProofServer {
    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 3) {
            Security.addProvider((Provider) Class.forName(arguments[3]).getDeclaredConstructor().newInstance());
        }
        char[] password = "gallery".toCharArray();
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(new FileInputStream(arguments[1]), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(own, password);
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        trusted.setCertificateEntry("ca",
            CertificateFactory.getInstance("X.509").generateCertificate(new FileInputStream(arguments[2])));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory()
            .createServerSocket(Integer.parseInt(arguments[0]), 100, InetAddress.getLoopbackAddress());
        listener.setNeedClientAuth(true);
        listener.setEnabledProtocols(new String[] {"TLSv1.2", "TLSv1.3"});
        while (true) {
            SSLSocket connection = (SSLSocket) listener.accept();
            new Thread(() -> serve(connection)).start();
        }
    }

    private static void serve(SSLSocket connection) {
        try (SSLSocket it = connection) {
            it.setSoTimeout(10000);
            it.startHandshake();
            InputStream input = it.getInputStream();
            for (int newlines = 0, octet; newlines < 2 && (octet = input.read()) >= 0;) {
                newlines = octet == '\n' ? newlines + 1 : octet == '\r' ? newlines : 0;
            }
            String who;
            try {
                who = it.getSession().getPeerPrincipal().getName();
            } catch (javax.net.ssl.SSLPeerUnverifiedException nobody) {
                who = "nobody";
            }
            String head = "HTTP/1.1 200 OK\r\nContent-Length: " + who.getBytes().length + "\r\n\r\n";
            it.getOutputStream().write((head + who).getBytes());
        } catch (Exception error) {
            System.err.println(error);
        }
    }
}
