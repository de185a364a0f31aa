package harness

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// Tell sends a request to the control socket of a simulated peripheral, which acts as the peripheral's own side.
func Tell(t testing.TB, socket, request string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintln(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(answer, `"ok":true`) {
		t.Fatalf("%s: %s, %v", request, answer, err)
	}
}
