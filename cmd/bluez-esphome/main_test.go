package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"bluez-esphome/internal/dbusobj/dbustest"

	"github.com/godbus/dbus/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bluez-esphome": func() { os.Exit(run()) }})
}

// TestScripts runs the command line as a user would: what it prints, and the exit statuses.
func TestScripts(t *testing.T) {
	_, err := exec.LookPath("dbus-daemon")
	hasBus := err == nil
	taken := ""
	if hasBus {
		taken = takenBus(t)
	} else {
		t.Log("skipped the scripts that need a bus: dbus-daemon is not installed")
	}
	testscript.Run(t, testscript.Params{
		Dir:       "testdata/script",
		Condition: func(cond string) (bool, error) { return cond == "bus" && hasBus, nil },
		Setup: func(env *testscript.Env) error {
			env.Setenv("TAKEN", taken)
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("BLUEZ_ESPHOME_STATE_DIR", env.WorkDir+"/state") // root has another one
			return os.Mkdir(env.WorkDir+"/run", 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": wantStatus},
	})
}

// takenBus starts a bus on which org.bluez is owned by this process.
func takenBus(t *testing.T) string {
	address := dbustest.Start(t)
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if reply, err := conn.RequestName(daemonName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("cannot own %s: %v %v", daemonName, reply, err)
	}
	return address
}

const daemonName = "org.bluez"

// wantStatus is the script command status N ARGS… runs bluez-esphome and wants exit status N.
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("bluez-esphome", args[1:]...)
	got := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ProcessState.String()[len("exit status "):]
	} else {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// TestExamples: the help of every command has examples, and no line of it is wider than 80 columns, which every
// terminal has.
func TestExamples(t *testing.T) {
	root := newRoot()
	for _, c := range append(root.Commands(), root) {
		if c.Example == "" && c.Name() != "completion" && c.Name() != "help" && c != root {
			t.Errorf("%s has no example", c.Name())
		}
		if c.Name() == "reload" && !strings.Contains(c.Example, "--pid") {
			t.Errorf("the example of reload lacks --pid, without which it fails: %s", c.Example)
		}
		var out strings.Builder
		c.SetOut(&out)
		c.HelpFunc()(c, nil)
		if !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s: the help is %q", c.Name(), out.String())
		}
		for line := range strings.Lines(out.String()) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
				t.Errorf("%s: %d characters: %s", c.Name(), len([]rune(line)), line)
			}
		}
		if first := c.Short[:1]; first != strings.ToLower(first) && c != root {
			t.Errorf("%s begins with a capital: %s", c.Name(), c.Short)
		}
	}
}
