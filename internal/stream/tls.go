package stream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"bluez-esphome/internal/config"
)

// tlsConfig reads the files anew for each session: certificates are replaced while the daemon runs.
func tlsConfig(m config.MQTT) (*tls.Config, error) {
	c := &tls.Config{ServerName: m.ServerName, MinVersion: tls.VersionTLS12}
	if c.ServerName == "" {
		c.ServerName = m.Host
	}
	if m.CAFile != "" {
		b, err := os.ReadFile(m.CAFile)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s has no certificate in PEM", m.CAFile)
		}
	}
	if m.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(m.CertFile, m.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// explain adds to why there is no TLS what to do about it.
func explain(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
	)
	remedy := ""
	switch {
	case errors.As(err, &unknown):
		remedy = "set tls.ca_file to the certificate of who signed the broker's"
	case errors.As(err, &name):
		remedy = "use the certificate's name in url, or set tls.server_name to it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		remedy = "renew the broker's certificate, or set the clock of this machine"
	case errors.As(err, &plain):
		remedy = "the port is none for TLS; use mqtt:// or another port"
	case wantsCertificate(err):
		remedy = "it wants a certificate that it knows; set tls.cert_file and tls.key_file"
	case closed(err):
		remedy = "is the port one for TLS? If not, use mqtt://"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy)
}

// wantsCertificate reports whether the broker refused us for want of a certificate, or for the one that we have. With TLS 1.3 that
// comes after the handshake, with the first that is read. crypto/tls has no type for what the peer says.
func wantsCertificate(err error) bool {
	if err == nil {
		return false
	}
	_, alert, ok := strings.Cut(err.Error(), "remote error: tls: ")
	return ok && (strings.Contains(alert, "certificate") || strings.Contains(alert, "handshake failure"))
}
