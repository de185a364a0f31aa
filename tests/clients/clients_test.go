package clients

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bluez-esphome/tests/harness"
)

var write = flag.Bool("write", false, "write docs/evidence/clients.md")

func TestMain(m *testing.M) { harness.Main(m) }

// steps are what every client does.
var steps = []string{"power", "discover", "connect", "list", "read", "write", "notify", "disconnect"}

// limit is how long one client may take.
const limit = 4 * time.Minute

// row is a client's line of the table.
type row struct {
	name, version, how string
	passed             []string
	skipped            string // why, if it was
}

// A client is one line of the table.
type client struct {
	name, how string
	// version gives what is tested, or what is missing to test it.
	version func(t *testing.T) (version, missing string)
	// run runs the client on the bus and gives its output, a line "STEP name" for each step that it passed.
	run func(t *testing.T, bus *harness.Bus) string
}

func matrix() []client {
	python := func(mode string) func(*testing.T, *harness.Bus) string {
		return func(t *testing.T, bus *harness.Bus) string {
			return output(t, bus, harness.Python(t), harness.Path(t, "tests", "clients", "bleak_steps.py"), mode)
		}
	}
	tool := func(name string) func(*testing.T, *harness.Bus) string {
		return func(t *testing.T, bus *harness.Bus) string {
			company(t, bus)
			return output(t, bus, "sh", harness.Path(t, "tests", "clients", "tool.sh"), name)
		}
	}
	bleak := pinned("tests/requirements.txt", `(?m)^bleak==(\S+)$`)
	return []client{
		{"bluetoothctl", "interactive, on a terminal", printed(`(\d+\.\d+)`, "bluetoothctl", "--version"), bluetoothctl},
		{"bleak", "active scan, AcquireNotify", bleak, python("active-acquire")},
		{"bleak", "active scan, StartNotify", bleak, python("active-start")},
		{"bleak", "passive scan with or_patterns, AcquireNotify", bleak, python("passive")},
		{"node-ble", "Introspect instead of ObjectManager", nodeVersion, node},
		{"tinygo.org/x/bluetooth", "ServicesResolved polled", pinned("tests/clients/tinygo/go.mod", `tinygo.org/x/bluetooth (v\S+)`), tinygo},
		{"muka/go-bluetooth", "InterfacesAdded only", pinned("go.mod", `muka/go-bluetooth (v\S+)`), muka},
		{"busctl", "one-shot calls beside another program", printed(`systemd (\d+)`, "busctl", "--version"), tool("busctl")},
		{"gdbus", "one-shot calls beside another program", printed(`(\d+\.\d+\.\d+)`, "gio", "--version"), tool("gdbus")},
	}
}

// TestMatrix runs every client through every step, prints the table and holds docs/evidence/clients.md against it.
func TestMatrix(t *testing.T) {
	var (
		mu    sync.Mutex
		order = matrix()
		rows  = make([]row, len(order))
	)
	t.Run("client", func(t *testing.T) {
		for i, c := range order {
			t.Run(c.name+" "+c.how, func(t *testing.T) {
				t.Parallel()
				r := row{name: c.name, how: c.how}
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					rows[i] = r
				}()
				r.version, r.skipped = c.version(t)
				if r.skipped != "" {
					t.Skip(r.skipped)
				}
				out := c.run(t, harness.Demo(t))
				for _, m := range regexp.MustCompile(`(?m)^STEP (\w+)$`).FindAllStringSubmatch(out, -1) {
					r.passed = append(r.passed, m[1])
				}
				if !slices.Equal(r.passed, steps) {
					t.Errorf("passed %q, want %q", r.passed, steps)
				}
			})
		}
	})
	text, skipped := render(rows)
	fmt.Print(text)
	if skipped > 0 {
		fmt.Printf("clients: %d of %d skipped, docs/evidence/clients.md not looked at\n", skipped, len(rows))
		return
	}
	path := harness.Path(t, "docs", "evidence", "clients.md")
	if *write && !t.Failed() {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if withoutVersions(string(kept)) != withoutVersions(text) {
		t.Error("docs/evidence/clients.md is another table: make test-clients writes it")
	}
}

// render gives the document and how many clients were skipped.
func render(rows []row) (text string, skipped int) {
	var b strings.Builder
	fmt.Fprintf(&b, `# Clients

Programs and libraries that were written for BlueZ, unmodified, against the demo's devices. Written by `+"`make test-clients`"+`,
which is part of `+"`make test`"+`. The steps are: %s.

| client | version | how | steps passed |
| --- | --- | --- | ---: |
`, strings.Join(steps, ", "))
	for _, r := range rows {
		if r.skipped != "" {
			skipped++
			fmt.Fprintf(&b, "| %s | | %s | skipped: %s |\n", r.name, r.how, r.skipped)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d of %d |\n", r.name, r.version, r.how, len(r.passed), len(steps))
	}
	b.WriteString(`
busctl and gdbus are a new client with every call, and a client that leaves takes its discovery and its notifications along; so
another program keeps both going meanwhile, as is usual with them.

One-shot runs of bluetoothctl, ` + "`bluetoothctl COMMAND`" + `, wait for the result of their command and end with the status that they have on
bluetoothd: power, scan with ` + "`--timeout`" + `, devices, info, connect, pair, trust, block, disconnect, remove, aliases, agent, menus. Both Debian 12's
5.66 and the 5.82 of Debian 13 run each of them (` + "`TestOneShot`" + `); ` + "`bluetoothctl scan on`" + ` of 5.66 discovers until it is ended, for up to 290 s
(` + "`TestOneShotScanGoesOn`" + `).

` + "`ruuvitag-sensor`" + ` runs as a whole application on bleak; its decoded readings are held against what the simulated RuuviTag sends.
`)
	b.WriteString(rules())
	return b.String(), skipped
}

// withoutVersions leaves out what depends on the machine.
func withoutVersions(table string) string {
	return regexp.MustCompile(`(?m)^(\| [^|]*\|)[^|]*\|`).ReplaceAllString(table, "$1")
}

// output runs a client to its end. A client that fails fails the test; its output is counted nevertheless.
func output(t *testing.T, bus *harness.Bus, name string, args ...string) string {
	t.Helper()
	p := harness.Start(t, bus.Env(), name, args...)
	if status := p.Wait(t, limit); status != 0 {
		t.Errorf("%s ended with status %d:\n%s%s", name, status, p.Out, p.Err)
	}
	return p.Out.String()
}

// printed takes a version from what a program prints.
func printed(pattern, name string, args ...string) func(*testing.T) (string, string) {
	return func(t *testing.T) (version, missing string) {
		if _, err := exec.LookPath(name); err != nil {
			return "", name + " is not installed"
		}
		out, err := exec.Command(name, args...).CombinedOutput()
		if m := regexp.MustCompile(pattern).FindSubmatch(out); err == nil && m != nil {
			return string(m[1]), ""
		}
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
		return "", ""
	}
}

// pinned takes a version from a file of the repository.
func pinned(file, pattern string) func(*testing.T) (string, string) {
	return func(t *testing.T) (version, missing string) {
		b, err := os.ReadFile(harness.Path(t, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(pattern).FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s does not say %s", file, pattern)
		}
		return string(m[1]), ""
	}
}
