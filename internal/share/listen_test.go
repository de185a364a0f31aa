package share

import (
	"net"
	"strings"
	"testing"
)

// What the log says of a port that is not to be had tells what to change.
func TestRemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		taken.Addr().String(): "change share.base_port",
		"192.0.2.1:0":         "share.listen is no address of this host",
	} {
		ln, err := net.Listen("tcp", address)
		if err == nil {
			_ = ln.Close()
			t.Fatalf("%s is to be had", address)
		}
		if got := remedy(err); !strings.Contains(got, want) {
			t.Errorf("%v: %q does not say %q", err, got, want)
		}
	}
}
