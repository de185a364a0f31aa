package share

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestUpstream: for a host, a restart of the real proxy looks like a restart of the shared one, and the shared proxy is
// back by itself.
func TestUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "hall")
	host, end, out := w.python(t, "reconnect_client.py", "127.0.0.1", fmt.Sprint(w.port), key)
	count := func(what string) int { return strings.Count(out.String(), what+"\n") }
	eventually(t, "the host hears", func() bool { return count("hears") == 1 })
	w.sim.Proxy("hall").Restart(2 * time.Second)
	eventually(t, "the host notices", func() bool { return count("lost") == 1 })
	eventually(t, "the host hears again", func() bool { return count("hears") == 2 })
	_ = end.Close()
	if err := host.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPorts: the proxies are on consecutive ports in the order of the configuration, and stay there when others go.
func TestPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "attic", "barn")
	at := func(name string, port int) func() bool {
		return func() bool {
			return strings.Contains(w.logs.String(), fmt.Sprintf("proxy=%s name=%s-shared address=127.0.0.1:%d", name, name, port))
		}
	}
	eventually(t, "the first proxy is at the first port", at("attic", w.port))
	eventually(t, "the second proxy is at the second port", at("barn", w.port+1))
	w.stop()
	var kept []string
	for line := range strings.Lines(w.yaml) {
		if !strings.Contains(line, "name: attic") {
			kept = append(kept, line)
		}
	}
	w.yaml, w.logs = strings.Join(kept, ""), &logs{}
	w.start(t)
	eventually(t, "the proxy that is left is where it was", at("barn", w.port+1))
}

// TestScanMode: the real proxy scans actively as long as a host wants it, though nobody on D-Bus discovers.
func TestScanMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", "hall")
	real := w.sim.Proxy("hall")
	eventually(t, "the proxy scans passively", func() bool { return real.ScanMode() == 0 })
	host, end, out := w.python(t, "reconnect_client.py", "127.0.0.1", fmt.Sprint(w.port), key)
	eventually(t, "the host hears", func() bool { return strings.Contains(out.String(), "hears") })
	eventually(t, "the proxy scans as it is configured", func() bool { return real.ScanMode() == 1 })
	_ = end.Close()
	if err := host.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	eventually(t, "the proxy scans passively again", func() bool { return real.ScanMode() == 0 })
}
