package stream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// authority signs certificates.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.file, _ = a.issue(t, name, time.Now().Add(time.Hour), true)
	return a
}

// issue makes a certificate for a host name or an IP address, and gives the files of the certificate and of its key.
func (a *authority) issue(t *testing.T, name string, until time.Time, ca bool) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-2 * time.Hour), NotAfter: until,
		IsCA: ca, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	parent, signer := a.cert, a.key
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if ca {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = private
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(suffix, kind string, b []byte) string {
		path := filepath.Join(a.dir, fmt.Sprintf("%s-%d.%s", name, template.SerialNumber, suffix))
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("crt", "CERTIFICATE", der), write("key", "PRIVATE KEY", secret)
}

// TestTLS: the daemon uses a Mosquitto with TLS if the certificate is right. If it is not, status says what is wrong
// and what to do. A reload with a right configuration mends it.
func TestTLS(t *testing.T) {
	t.Parallel()
	place := harness.NewPlace(t)
	ours, theirs := newAuthority(t, place.Dir, "our-ca"), newAuthority(t, place.Dir, "their-ca")
	port := harness.FreePort(t)
	var more strings.Builder
	for i, c := range []struct {
		name  string
		until time.Time
		line  string
	}{
		{"127.0.0.1", time.Now().Add(time.Hour), ""},
		{"broker.example", time.Now().Add(time.Hour), ""},
		{"127.0.0.1", time.Now().Add(-time.Minute), ""},
		{"127.0.0.1", time.Now().Add(time.Hour), "require_certificate true"},
	} {
		cert, key := ours.issue(t, c.name, c.until, false)
		fmt.Fprintf(&more, "listener %d 127.0.0.1\ncertfile %s\nkeyfile %s\ncafile %s\n%s\n", port+i, cert, key, ours.file, c.line)
	}
	b := mosquitto(t, more.String())
	bus := place.Run(t, "proxies: []\n")
	client := bus.Client(t)
	cert, key := ours.issue(t, "daemon", time.Now().Add(time.Hour), false)
	other, otherKey := theirs.issue(t, "daemon", time.Now().Add(time.Hour), false)
	for _, c := range []struct{ name, stream, want string }{
		{"all in order", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s}`, port, ours.file), ""},
		{"nobody's", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d"`, port), "set tls.ca_file"},
		{"others' authority", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s}`, port, theirs.file), "set tls.ca_file"},
		{"wrong name", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s}`, port+1, ours.file), "set tls.server_name"},
		{"that name", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s, server_name: broker.example}`, port+1, ours.file), ""},
		{"expired", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s}`, port+2, ours.file), "renew the broker's certificate"},
		{"no certificate", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s}`, port+3, ours.file), "tls.cert_file"}, // the broker's alert may be lost with the connection
		{"another's certificate", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s, cert_file: %s, key_file: %s}`, port+3, ours.file, other, otherKey), "tls.cert_file"},
		{"its certificate", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d", tls: {ca_file: %s, cert_file: %s, key_file: %s}`, port+3, ours.file, cert, key), ""},
		{"no TLS there", fmt.Sprintf(`url: "mqtts://127.0.0.1:%d"`, b.port), "use mqtt://"},
		{"TLS there", fmt.Sprintf(`url: "mqtt://127.0.0.1:%d"`, port), "are port and scheme (mqtt, mqtts) right"},
	} {
		// The topic tells this stream from the one before.
		config := fmt.Sprintf("proxies: []\nstream: {mqtt: {%s, site: %q}}\n", c.stream, strings.ReplaceAll(c.name, "'", ""))
		if err := os.WriteFile(filepath.Join(place.Dir, "config.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		bus.Daemon.Signal(t, syscall.SIGHUP)
		var st streamed
		client.Eventually(c.name, func() bool {
			st = status(t, bus)
			ours := st.Topic == "bluez-esphome/"+strings.ReplaceAll(c.name, "'", "")
			return ours && (c.want == "" && st.State == "connected" || c.want != "" && st.State != "connected" && strings.Contains(st.LastError, c.want))
		})
		t.Logf("%s: %s", c.name, st.LastError)
	}
}
