package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

// key is the one of the proxy kitchen, where the README has a placeholder.
const key = "dGhlIGtleSBvZiB0aGUga2l0Y2hlbiBwcm94eSBvayE="

// buildLimit is for what compiles the program first, perhaps with nothing in the cache.
const buildLimit = 10 * time.Minute

// ignored folders are no part of the repository.
var ignored = []string{".git", ".venv", "bin", "dist", "node_modules"}

// TestReadme follows the README as it stands, in a copy of the repository: make run, bluetoothctl in another shell, and
// a configuration of one's own. The output has to be what the README shows.
func TestReadme(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	readme := read(t, "README.md")

	demo := s.start("make", "run")
	demo.Out.ExpectIn(t, `HEARD BY \(dBm\) +LAST(?s:.*?)\n\n`, buildLimit)
	sameDemo(t, readme.blockWith(t, "The demo runs"), demo.Out.String())
	bus := regexp.MustCompile(`export (DBUS_SYSTEM_BUS_ADDRESS=\S+)`).FindStringSubmatch(demo.Out.String())[1]
	session(t, []string{bus, "HOME=" + s.home}, readme.blockWith(t, "[bluetooth]# "))
	interrupt(t, demo)

	// The configuration as it is shown has a placeholder for the key, which the check finds.
	_, addrs := harness.Simulate(t, "", "kitchen=127.0.0.1:0,psk="+key, "hall=127.0.0.1:0")
	yaml := readme.blockWith(t, "proxies:")
	s.run(0, "", "install", "-m", "600", "configs/bluez-esphome.yaml", "my.yaml")
	s.run(0, "my.yaml is valid: no proxies", "bin/bluez-esphome", "check", "--try", "my.yaml")
	s.write("my.yaml", yaml)
	s.run(3, "not base64", "bin/bluez-esphome", "check", "--try", "my.yaml")
	for placeholder, real := range map[string]string{
		"the value of api: encryption: key:": key, "kitchen.local": addrs["kitchen"], "192.168.1.31": addrs["hall"],
	} {
		if !strings.Contains(yaml, placeholder) {
			t.Fatalf("the README's configuration has no %q", placeholder)
		}
		yaml = strings.Replace(yaml, placeholder, real, 1)
	}
	s.write("my.yaml", yaml)
	s.run(0, `(?s)my.yaml is valid: 2 proxies.* kitchen +([0-9A-F]{2}:){5}.* hall +([0-9A-F]{2}:){5}`, "bin/bluez-esphome", "check", "--try", "my.yaml")
	daemon := s.start("make", "run", "CONFIG=my.yaml")
	daemon.Out.ExpectIn(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=unix:path=\S+$`, buildLimit)
	for range 2 { // both proxies, each once
		daemon.Err.Expect(t, `msg="Proxy is online"`)
	}
	s.run(0, `(?s)hall +online.*kitchen +online`, "bin/bluez-esphome", "status") // it finds the bus by itself
	s.run(0, `DEVICE +NAME +BUS|no device is heard`, "bin/bluez-esphome", "devices")
	interrupt(t, daemon)
}

// shell runs commands in a copy of the repository, with a home of its own.
type shell struct {
	t         *testing.T
	dir, home string
	env       []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	place := harness.NewPlace(t)
	s := &shell{t: t, dir: filepath.Join(place.Dir, "r"), home: place.Dir}
	root := harness.Path(t)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir() && slices.Contains(ignored, e.Name()):
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(s.dir, rel), 0o755)
		case !e.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(s.dir, rel), b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	// Go derives the place of its caches from HOME, which is another one here. Variables of a make that runs the tests
	// must not reach the make below it.
	s.env = append(place.Env(), "TMPDIR="+place.Dir, "PWD="+s.dir, "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS=")
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		s.env = append(s.env, name+"="+strings.TrimSpace(string(out)))
	}
	return s
}

// start starts a command in the copy. The harness cannot set a working directory, so env does.
func (s *shell) start(name string, args ...string) *harness.Proc {
	s.t.Helper()
	return harness.Start(s.t, s.env, "env", append([]string{"-C", s.dir, name}, args...)...)
}

// run runs a command to its end and looks at its status and at what it says.
func (s *shell) run(status int, want string, name string, args ...string) {
	s.t.Helper()
	p := s.start(name, args...)
	if got := p.Wait(s.t, harness.Limit); got != status {
		s.t.Errorf("%s %q ended with status %d, want %d", name, args, got, status)
	}
	if said := p.Out.String() + p.Err.String(); !regexp.MustCompile(want).MatchString(said) {
		s.t.Errorf("%s %q does not say %q but\n%s", name, args, want, said)
	}
}

func (s *shell) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// interrupt sends SIGINT to everything that the command started, as Ctrl-C does. No process is left over.
func interrupt(t *testing.T, p *harness.Proc) {
	t.Helper()
	if err := syscall.Kill(-p.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.Wait(t, harness.Limit)
	for end := time.Now().Add(harness.Limit); syscall.Kill(-p.PID(), 0) == nil; {
		if time.Now().After(end) {
			t.Fatal("something of it still runs after Ctrl-C")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// What differs from one run to the next.
var changing = []struct{ pattern, sign string }{
	{`built bin/bluez-esphome \S+`, "built bin/bluez-esphome VERSION"}, {`unix:path=\S+`, "unix:path=BUS"}, {`127\.0\.0\.1:\d+`, "HOST"},
}

// sameDemo compares the output of make run with that of the README. For devices it compares which are there, not their
// signal strengths.
func sameDemo(t *testing.T, want, got string) {
	t.Helper()
	device := regexp.MustCompile(`^[0-9A-F]{2}(:[0-9A-F]{2}){5} `)
	normal := func(text string) (out []string) {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			for _, c := range changing {
				line = regexp.MustCompile(c.pattern).ReplaceAllString(line, c.sign)
			}
			if device.MatchString(line) {
				line = line[:17]
			} else {
				line = strings.Join(strings.Fields(line), " ") // columns are as wide as what is in them
			}
			// A demo says so if another one runs, or if bluetoothctl is missing.
			if line != "" && !strings.HasPrefix(line, "(") && !strings.Contains(line, "apt install bluez") {
				out = append(out, line)
			}
		}
		return out
	}
	w, g := normal(want), normal(got)
	if len(g) > len(w) { // the table comes again and again
		g = g[:len(w)]
	}
	if !slices.Equal(w, g) {
		t.Errorf("the README shows\n%s\nthe program\n%s", strings.Join(w, "\n"), strings.Join(g, "\n"))
	}
}

// session types what the README types into bluetoothctl and waits for each line that it shows. Lines that tell of
// devices come in any order; the controller's address is another one.
func session(t *testing.T, env []string, shown string) {
	t.Helper()
	p := harness.StartTerminal(t, env, "bluetoothctl")
	p.Out.Expect(t, `Agent registered`)
	typed := 0
	for line := range strings.Lines(shown) {
		line = strings.TrimSpace(line)
		if command, ok := strings.CutPrefix(line, "[bluetooth]# "); ok {
			p.Send(t, command)
			typed++
			continue
		}
		pattern := regexp.QuoteMeta(line)
		if strings.HasPrefix(line, "[CHG] Controller ") {
			pattern = regexp.MustCompile(`Controller \S+`).ReplaceAllString(pattern, `Controller [0-9A-F:]{17}`)
		}
		awaitLine(t, p, pattern)
	}
	if typed < 2 {
		t.Errorf("the README types %d commands", typed)
	}
	p.Send(t, "exit")
	p.Wait(t, harness.Limit)
}

// awaitLine waits for a pattern anywhere in what was printed.
func awaitLine(t *testing.T, p *harness.Proc, pattern string) {
	t.Helper()
	for end := time.Now().Add(harness.Limit); p.Out.Count(pattern) == 0; {
		if time.Now().After(end) {
			t.Fatalf("bluetoothctl does not show %s; it shows\n%s", pattern, p.Out)
		}
		select {
		case <-p.Done():
			t.Fatal("bluetoothctl ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
