package share

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// Devices of the demo, as remote_client.py names them.
const (
	pulse, thermo, lock = "C8:2B:96:10:00:01", "A4:C1:38:10:00:02", "E1:5D:0A:10:00:03"
	greeting            = "b1e50002-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	counter             = "b1e50004-6d5e-4c1b-9e3a-1f0c2d3e4f50"
	humidity            = "00002a6f-0000-1000-8000-00805f9b34fb"
	public, random      = 0, 1
)

// fields is a command to a remote host, or an event of it.
type fields map[string]any

// remote is a process with ESPHome's client library.
type remote struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	mu     sync.Mutex
	events []fields
	seen   []fields      // all of them since take
	news   chan struct{} // capacity 1
}

// host starts a client at a port; it is not yet connected.
func (w *world) host(t *testing.T, port int, key, name string) *remote {
	t.Helper()
	r := &remote{t: t, name: name, news: make(chan struct{}, 1)}
	r.cmd = exec.CommandContext(t.Context(), harness.Python(t), harness.Path(t, "tests", "share", "remote_client.py"), "127.0.0.1", fmt.Sprint(port), key, name)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in, err = r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			f := fields{}
			if err := json.Unmarshal(s.Bytes(), &f); err != nil {
				f = fields{"ev": s.Text()}
			}
			r.mu.Lock()
			r.events, r.seen = append(r.events, f), append(r.seen, f)
			r.mu.Unlock()
			select {
			case r.news <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		_ = r.in.Close()
		select {
		case <-read:
		case <-time.After(limit):
			t.Errorf("%s does not end", name)
			_ = r.cmd.Process.Kill()
		}
		_ = r.cmd.Wait()
	})
	return r
}

// connected starts a client and waits until it has a session.
func (w *world) connected(t *testing.T, port int, key, name string) *remote {
	t.Helper()
	r := w.host(t, port, key, name)
	r.want(fields{"ev": "up"})
	return r
}

// kill ends the client without a goodbye.
func (r *remote) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
}

// take gives everything that was seen since it was last called.
func (r *remote) take() []fields {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func (r *remote) do(what string, args fields) {
	r.t.Helper()
	line := fields{"do": what}
	for k, v := range args {
		line[k] = v
	}
	b, err := json.Marshal(line)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(r.in, "%s\n", b); err != nil {
		r.t.Fatal(err)
	}
}

// want waits for an event with these fields, and drops it and all events before it.
func (r *remote) want(want fields) fields {
	r.t.Helper()
	got, _ := r.either(want, nil)
	return got
}

// either waits for the first of two events and tells which it was.
func (r *remote) either(one, two fields) (fields, bool) {
	r.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for seen := 0; ; {
		r.mu.Lock()
		for ; seen < len(r.events); seen++ {
			f := r.events[seen]
			if first := f.has(one); first || two != nil && f.has(two) {
				r.events = r.events[seen+1:]
				r.mu.Unlock()
				return f, first
			}
		}
		events := r.events
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-timeout.C:
			r.t.Fatalf("%s: no %v; got %v", r.name, one, events)
		}
	}
}

// has reports whether an event has the fields of want. Numbers are those of JSON.
func (f fields) has(want fields) bool {
	for k, v := range want {
		if n, ok := v.(int); ok {
			v = float64(n)
		}
		if l, ok := v.([]string); ok {
			list := make([]any, len(l))
			for i, s := range l {
				list[i] = s
			}
			v = list
		}
		if !reflect.DeepEqual(f[k], v) {
			return false
		}
	}
	return true
}

// slots waits until the host has been told of these slots.
func (r *remote) slots(free, limit int, links ...string) {
	r.t.Helper()
	if links == nil {
		links = []string{}
	}
	r.want(fields{"ev": "slots", "free": free, "limit": limit, "links": links})
}

// connect asks for a link and waits until it is up.
func (r *remote) connect(address string, addressType int) {
	r.t.Helper()
	r.do("connect", fields{"address": address, "type": addressType})
	r.want(fields{"ev": "link", "address": address, "up": true})
}

// settle returns once the daemon has received everything that the host was told to do.
func (r *remote) settle() {
	r.t.Helper()
	r.do("settle", nil)
	r.want(fields{"ev": "done", "do": "settle"})
}

// read reads a characteristic.
func (r *remote) read(address, uuid string) string {
	r.t.Helper()
	r.do("read", fields{"address": address, "uuid": uuid})
	got, ok := r.either(fields{"ev": "read", "address": address}, fields{"ev": "failed", "do": "read"})
	if !ok {
		return fmt.Sprint(got)
	}
	return strings.ToLower(fmt.Sprint(got["value"]))
}
