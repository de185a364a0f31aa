package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bluez-esphome/internal/task/tasktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a Server on loopback until the test ends.
func start(t *testing.T, src Source, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", Source: src, Metrics: NewMetrics("1.2.3"), Logger: slog.New(slog.DiscardHandler), Version: "1.2.3"}
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	tasktest.Background(t, s.Run)
	return s
}

func get(t *testing.T, method, url, host string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestHost(t *testing.T) {
	s := start(t, &fakeSource{}, nil)
	port := s.listener.Addr().(*net.TCPAddr).Port
	for _, c := range []struct {
		host string
		want int
	}{
		{"", 200}, {"localhost", 200}, {fmt.Sprintf("LOCALHOST:%d", port), 200}, {"127.0.0.1:1", 200}, {"[::1]:9551", 200}, {"localhost.", 200},
		{"evil.example", 403}, {"localhost.evil.example", 403}, {"127.0.0.1.evil.example:9551", 403}, {"192.168.1.5", 403}, {"[2001:db8::1]", 403},
		{fmt.Sprintf("evil.example:%d", port), 403}, {"@", 403},
	} {
		for _, path := range []string{"", "metrics", "healthz", "events", "api/snapshot"} {
			if c.want == 200 && path == "events" {
				continue // a stream
			}
			got, _, body := get(t, "GET", s.URL()+path, c.host)
			if got != c.want {
				t.Errorf("Host %q, /%s: status %d, want %d", c.host, path, got, c.want)
			}
			if got == 403 && !strings.Contains(body, "as localhost, or by the name in http.listen") {
				t.Errorf("Host %q, /%s: it is not said which host to ask for: %s", c.host, path, body)
			}
		}
	}
}

// A listener on all addresses accepts any IP address and its own names as Host, and nothing else.
func TestOwnHosts(t *testing.T) {
	own := ownHosts("Sensor.lan:9551", &net.TCPAddr{IP: net.IPv4zero, Port: 9551})
	for host, want := range map[string]bool{
		"192.168.1.5:9551": true, "[fe80::1]:9551": true, "sensor.lan": true, "sensor.lan.:9551": true, "localhost": true,
		"evil.example": false, "sensor.lan.evil.example": false, "": false, "192.168.1.5.evil.example": false,
	} {
		if got := own(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}

func TestReadOnly(t *testing.T) {
	s := start(t, &fakeSource{}, nil)
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		if got, h, _ := get(t, m, s.URL()+"metrics", ""); got != 405 || h.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: status %d, Allow %q", m, got, h.Get("Allow"))
		}
	}
	for _, path := range []string{"", "metrics", "healthz", "events"} {
		if got, _, body := get(t, "HEAD", s.URL()+path, ""); got != 200 || body != "" {
			t.Errorf("HEAD /%s: status %d, body %q", path, got, body)
		}
	}
	if got, _, _ := get(t, "GET", s.URL()+"nothing", ""); got != 404 {
		t.Errorf("an unknown path: status %d", got)
	}
}

func TestHeaders(t *testing.T) {
	s := start(t, &fakeSource{}, nil)
	for path, kind := range map[string]string{"": "text/html", "page.js": "text/javascript", "heat.js": "text/javascript",
		"chart.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml", "api/snapshot": "application/json", "metrics": "text/plain"} {
		code, h, body := get(t, "GET", s.URL()+path, "")
		if code != 200 || body == "" || !strings.HasPrefix(h.Get("Content-Type"), kind) {
			t.Errorf("/%s: status %d, %q, %d bytes", path, code, h.Get("Content-Type"), len(body))
		}
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("/%s lacks headers: %v", path, h)
		}
	}
}

// The page must work without internet and under its own policy.
func TestPageIsAlone(t *testing.T) {
	for path, f := range pageFiles {
		text := strings.ReplaceAll(string(f.data), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "//cdn", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick=", "style=", "@import", "url("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s contains %q", path, bad)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	f := &fakeSource{}
	s := start(t, f, nil)
	check := func(path string, want int, text string) {
		t.Helper()
		if code, _, body := get(t, "GET", s.URL()+path, ""); code != want || strings.TrimSpace(body) != text {
			t.Errorf("/%s: %d %q, want %d %q", path, code, body, want, text)
		}
	}
	check("healthz", 200, "ok")
	check("readyz", 200, "ok")
	f.mu.Lock()
	f.health, f.ready = errTest, errTest
	f.mu.Unlock()
	check("healthz", 503, "not at work")
	check("readyz", 503, "not at work")
}

func TestProfiles(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := start(t, &fakeSource{}, func(c *Config) { c.Profiles = on })
		for _, tt := range []struct {
			path, text string
			code       int
		}{
			{"", "goroutine ", 200},
			{"goroutine?debug=1", "goroutine profile: total", 200},
			{"heap?gc=1&debug=1", "# HeapAlloc = ", 200},
			{"allocs", "\x1f\x8b", 200}, // compressed
			{"profile?seconds=1", "\x1f\x8b", 200},
			{"trace?seconds=1", "go 1.", 200},
			{"profile?seconds=0", "from 1 to 300", 400},
			{"profile?seconds=301", "from 1 to 300", 400},
			{"trace?seconds=long", "from 1 to 300", 400},
			{"cmdline", "no such profile", 404},
			{"nonsense", "no such profile", 404},
		} {
			if !on {
				tt.code, tt.text = 404, "404 page not found"
			}
			if code, _, body := get(t, "GET", s.URL()+"debug/pprof/"+tt.path, ""); code != tt.code || !strings.Contains(body, tt.text) {
				t.Errorf("with Profiles %v: %s: status %d %.40q, want %d with %q", on, tt.path, code, body, tt.code, tt.text)
			}
		}
	}
}

func TestListenError(t *testing.T) {
	s := start(t, &fakeSource{}, nil)
	_, err := Listen(t.Context(), Config{Listen: s.listener.Addr().String(), Source: &fakeSource{}, Metrics: NewMetrics(""), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "cannot listen for HTTP on 127.0.0.1:") || !strings.Contains(err.Error(), "choose another address or port") {
		t.Errorf("a port that is in use: %v", err)
	}
}

// Beyond the bound, the connection that has had no answer under way for longest makes room. Connections with an answer
// under way stay.
func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, &fakeSource{}, nil)
	dial := dialer(t, s)
	stream := dial()
	fmt.Fprintf(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if line, err := bufio.NewReader(stream).ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
		t.Fatal(line, err)
	}
	oldest := dial()
	for range maxConns - 2 {
		dial()
	}
	c := dial()
	if _, err := oldest.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Fatalf("the oldest connection: %v", err)
	}
	fmt.Fprintf(c, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "200 OK") {
		t.Errorf("the newest connection: %q, %v", b, err)
	}
	if _, err := stream.Read(make([]byte, 1)); err != nil {
		t.Errorf("the stream: %v", err)
	}
}

func dialer(t *testing.T, s *Server) func() net.Conn {
	return func() net.Conn {
		c, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		return c
	}
}

// TestHealthUnderSiege (security report, R12): somebody holds all the streams and connections that there are: idle
// ones, half of a request, answers that are not read. Each health check is answered.
func TestHealthUnderSiege(t *testing.T) {
	s := start(t, hostileSource(), nil)
	dial := dialer(t, s)
	for range maxViewers {
		fmt.Fprintf(dial(), "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for i := range 3 * maxConns {
		switch c := dial(); i % 3 {
		case 0: // asks again and again
			go func() {
				r := bufio.NewReader(c)
				for {
					if _, err := fmt.Fprintf(c, "GET /api/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
						return
					}
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						return
					}
				}
			}()
		case 1:
			fmt.Fprint(c, "GET /")
		case 2: // never reads
			go func() {
				for {
					if _, err := fmt.Fprintf(c, "GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
						return
					}
				}
			}()
		}
	}
	for i := range 20 {
		c := dial()
		fmt.Fprintf(c, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
		if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "200 OK") {
			t.Fatalf("health check %d: %q, %v", i, b, err)
		}
	}
}

// An address that is not this host's has fewer places, and pushes out its own connections only.
func TestPlacesOfAddress(t *testing.T) {
	d := newDoor(nil, 5, 3)
	begun := time.Now()
	visitor := func(from string, n int) *visit {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return &visit{Conn: a, door: d, from: from, idle: begun.Add(time.Duration(n) * time.Second)}
	}
	own := visitor("", 0)
	d.enter(own)
	var others []*visit
	for i := range 3 {
		v := visitor("192.0.2.1", 1+i)
		if out, ok := d.enter(v); out != nil || !ok {
			t.Fatal(out, ok)
		}
		others = append(others, v)
	}
	if out, ok := d.enter(visitor("192.0.2.1", 9)); out != others[0] || !ok {
		t.Errorf("%v, %v", out, ok)
	}
	for _, v := range []*visit{others[1], others[2]} {
		v.busy = 1
	}
	busy := visitor("192.0.2.1", 10)
	busy.busy = 1
	d.enter(busy)
	if out, ok := d.enter(visitor("192.0.2.1", 11)); out != nil || ok {
		t.Errorf("all of its answers are under way: %v, %v", out, ok)
	}
	if out, ok := d.enter(visitor("192.0.2.2", 12)); out != nil || !ok {
		t.Errorf("another address: %v, %v", out, ok)
	}
	if out, ok := d.enter(visitor("", 13)); out != own || !ok {
		t.Errorf("with no place left: %v, %v", out, ok)
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// All viewers share one snapshot a second, and there is a bound to their number.
func TestEvents(t *testing.T) {
	f := hostileSource()
	s := start(t, f, nil)
	var streams []*bufio.Reader
	for i := range maxViewers + 1 {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if i == maxViewers {
			if resp.StatusCode != 503 {
				t.Errorf("one viewer too many: status %d", resp.StatusCode)
			}
			break
		}
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Fatalf("Content-Type %q", got)
		}
		streams = append(streams, bufio.NewReaderSize(resp.Body, 1<<20))
	}
	const events = 2
	for _, st := range streams {
		for i := range events {
			line, err := st.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			data, ok := strings.CutPrefix(line, "data: ")
			var snap snapshot
			var change delta
			switch {
			case !ok:
				t.Fatalf("not an event: %q", line)
			case i == 0:
				if json.Unmarshal([]byte(data), &snap) != nil || len(snap.Proxies) != 3 || len(snap.List) != len(hostile) || len(snap.List[0].Sources) != 2 {
					t.Fatalf("not what there is: %q", line)
				}
			case json.Unmarshal([]byte(data), &change) != nil || len(change.New) > 0 || len(change.Moved) > 0 || change.Set["proxies"] != nil:
				t.Fatalf("nothing moved, and it is sent again: %q", line)
			}
			if _, err := st.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.mu.Lock()
	asked := f.asked
	f.mu.Unlock()
	if asked > events+4 {
		t.Errorf("%d viewers took %d snapshots for %d events", maxViewers, asked, events)
	}
}
