package harness

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// Tell asks a simulated peripheral's own side for something, at its control socket.
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
