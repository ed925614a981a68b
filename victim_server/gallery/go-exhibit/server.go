// An HTTPS server with two names, which trust two CAs. Its arguments: port, bundle, and the two CAs.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
)

func trusted(file string) *x509.CertPool {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func main() {
	pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[2])
	if err != nil {
		panic(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    trusted(os.Args[3]),
	}
	others := config.Clone()
	others.ClientCAs = trusted(os.Args[4])
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "others.example" {
			return others, nil
		}
		return nil, nil
	}
	server := &http.Server{
		Addr:      "127.0.0.1:" + os.Args[1],
		TLSConfig: config,
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			fmt.Fprintln(answer, request.TLS.PeerCertificates[0].Subject)
		}),
	}
	panic(server.ListenAndServeTLS("", ""))
}
