package link

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// TestSeveralDaemons: with two daemons of one user every command that reports says which one it is of and names the other,
// also if that has nothing to tell; one that is named is reported alone; and when the first one ends, the other is found.
func TestSeveralDaemons(t *testing.T) {
	first, second := harness.NewPlace(t), harness.NewPlace(t)
	runtime, temporary := filepath.Join(first.Dir, "run"), filepath.Join(second.Dir, "tmp")
	for _, d := range []string{runtime, temporary} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	nobody := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	start := func(p harness.Place, more []string, configuration string) (*harness.Proc, string) {
		path := filepath.Join(p.Dir, "config.yaml")
		if err := os.WriteFile(path, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		d := harness.Start(t, append(p.Env(), more...), harness.Binary(), "run", "--config", path, "--bus", "private")
		return d, d.Out.Expect(t, `(?m)^DBUS_SYSTEM_BUS_ADDRESS=(\S+)$`)[1]
	}
	daemon, a := start(first, []string{"RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR=" + runtime}, "proxies: []\n")
	_, b := start(second, []string{"RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR=", "TMPDIR=" + temporary},
		fmt.Sprintf("proxies: [{name: attic, address: %q}]\n", nobody))
	if a == b || !strings.Contains(a, runtime) || !strings.Contains(b, temporary) {
		t.Fatalf("the buses are %s and %s", a, b)
	}
	env := append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DBUS_SYSTEM_BUS_ADDRESS=") }),
		"RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR="+runtime, "TMPDIR="+temporary)
	say := func(args ...string) string {
		cmd := exec.Command(harness.Binary(), args...)
		cmd.Env = env
		out, _ := cmd.CombinedOutput() // statuses of failure are what some are asked for
		return string(out)
	}
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") } // lines are broken to the width of a terminal
	both := regexp.MustCompile(`2 daemons are running; this is the one on ` + regexp.QuoteMeta(a) + `\. The others, for --bus: ` + regexp.QuoteMeta(b) + `( |$)`)
	for _, args := range [][]string{{"status"}, {"status", "-v"}, {"devices"}} {
		if out := flat(say(args...)); !both.MatchString(out) {
			t.Errorf("%v does not name the other daemon:\n%s", args, out)
		}
	}
	elsewhere := fmt.Sprintf("this is the daemon on %s, others run on %s (--bus)", a, b)
	for _, args := range [][]string{{"status", "--check"}, {"status", "attic"}, {"devices", "--proxy", "attic"}} {
		if out := flat(say(args...)); !strings.Contains(out, elsewhere) {
			t.Errorf("%v does not name the other daemon:\n%s", args, out)
		}
	}
	report := func(args ...string) (r struct {
		Bus     string
		Others  []string `json:"other_buses"`
		Proxies []struct{ Name string }
	}) {
		out := say(append(args, "--json")...)
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return r
	}
	if r := report("status"); r.Bus != a || !slices.Equal(r.Others, []string{b}) || len(r.Proxies) != 0 {
		t.Errorf("status --json: %+v", r)
	}
	if r := report("status", "--bus", b); r.Bus != b || len(r.Others) != 0 || len(r.Proxies) != 1 || r.Proxies[0].Name != "attic" {
		t.Errorf("of the one that is named: %+v", r)
	}
	daemon.Stop(t)
	if out := flat(say("status")); !strings.Contains(out, "attic") || !strings.Contains(out, "This is the bluez-esphome on "+b) || strings.Contains(out, "daemons are running") {
		t.Errorf("with the second daemon alone:\n%s", out)
	}
}
