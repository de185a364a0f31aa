package stream

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bluez-esphome/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// tool finds a program of Debian's packages mosquitto or mosquitto-clients, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path, ok := harness.Server(name); ok {
		return path
	}
	t.Skipf("there is no %s (apt install mosquitto mosquitto-clients, or make test-stream)", name)
	return ""
}

// A broker is Mosquitto on a port of loopback.
type broker struct {
	*harness.Proc
	port    int
	conf    string
	readers int
}

// mosquitto starts a broker; more is further lines of its configuration.
func mosquitto(t *testing.T, more string) *broker {
	t.Helper()
	b := &broker{port: harness.FreePort(t), conf: filepath.Join(harness.NewPlace(t).Dir, "mosquitto.conf")}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nuser root\nallow_anonymous true\n%s", b.port, more)
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	return b
}

// start starts the broker, or starts it again at the same port.
func (b *broker) start(t *testing.T) {
	t.Helper()
	b.Proc = harness.Start(t, nil, tool(t, "mosquitto"), "-v", "-c", b.conf)
	b.Err.Expect(t, `mosquitto version \S+ running`)
}

// reader starts mosquitto_sub, which prints each message of a topic filter after its topic.
func (b *broker) reader(t *testing.T, topic string) *harness.Proc {
	t.Helper()
	b.readers++
	id := fmt.Sprintf("reader%d", b.readers)
	r := harness.Start(t, nil, tool(t, "mosquitto_sub"), "-h", "127.0.0.1", "-p", fmt.Sprint(b.port), "-v", "-i", id, "-t", topic)
	b.Err.Expect(t, "Sending SUBACK to "+id)
	return r
}

// streamed is the stream's part of status --json.
type streamed struct {
	State, Topic                                                 string
	Offered, Published, Dropped, Refused, Queued, Unacked, Limit uint64
	Sessions                                                     uint64
	LastError                                                    string `json:"last_error"`
}

func (s streamed) adds() bool {
	return s.Offered == s.Published+s.Dropped+s.Refused+s.Queued+s.Unacked
}

// status asks the daemon on a bus for the state of its stream.
func status(t *testing.T, bus *harness.Bus) streamed {
	t.Helper()
	cmd := exec.Command(harness.Binary(), "status", "--json", "--bus", bus.Address)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	var r struct{ Stream streamed }
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r.Stream
}

// air writes a file of peripherals and gives its path.
func air(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(harness.NewPlace(t).Dir, "air.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
