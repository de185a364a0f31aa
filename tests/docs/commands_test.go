package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// elsewhere names, for each command that TestReadme does not run, the file of the repository that runs it and a text
// that this file contains. A command without a file cannot be run as it stands.
var elsewhere = map[string]struct{ file, contains string }{
	"make test":                         {".ci/run", "make lint test"},
	"make lint":                         {".ci/run", "make lint test"},
	"make generate":                     {"scripts/lint.sh", "sh scripts/generate.sh"},
	"make test-clients":                 {"scripts/test.sh", "clients-table)"},
	"bluetoothctl --timeout 10 scan le": {"tests/clients/oneshot_test.go", `"--timeout 3 scan le"`},
	"bluetoothctl connect AA:BB:CC:DD:EE:FF || exit 1": {"tests/clients/oneshot_test.go", `"connect " + pulse, 0`},
	"bluetoothctl info AA:BB:CC:DD:EE:FF":              {"tests/clients/oneshot_test.go", `"info " + pulse, 0`},
	"bluetoothctl disconnect AA:BB:CC:DD:EE:FF":        {"tests/clients/oneshot_test.go", `"disconnect " + pulse, 0`},
	"bluetoothctl COMMAND":                             {"tests/clients/oneshot_test.go", "func TestOneShot("},
	"bluetoothctl scan on":                             {"tests/clients/oneshot_test.go", "func TestOneShotScanGoesOn("},
	"make test-golden":                                 {"scripts/test.sh", "golden)"},
	"make test-golden-full":                            {"tests/golden/main.go", `"full"`},
	// with little load
	"make bench-fleet": {"tests/bench/bench_test.go", `"fleet"`},
	"make bench":       {"tests/bench/bench_test.go", `"-quick"`},
	"make deb":         {"tests/install/deb_test.go", `"sh", "scripts/deb.sh"`},
	"make release":     {"tests/install/release_test.go", `scripts/release.sh `},
	// itself a test, which wants root and a long time
	"make test-install":                            {"Makefile", "sh scripts/test-install.sh"},
	"apt install ./dist/bluez-esphome_*_amd64.deb": {"scripts/install/chroot.sh", "apt install /root/bluez-esphome_1.0.0_amd64.deb"},
	"systemctl reload bluez-esphome":               {"scripts/install/inside.sh", `ok "systemctl reload" systemctl reload bluez-esphome`},
	"systemctl reload":                             {"scripts/install/inside.sh", `ok "systemctl reload" systemctl reload bluez-esphome`},
	"systemctl status":                             {"scripts/install/inside.sh", "systemctl status -n 20 bluez-esphome"},
	"systemctl restart":                            {"scripts/install/inside.sh", `ok "systemctl restart" systemctl restart bluez-esphome`},
	"systemd-analyze security --offline=true FILE": {"tests/install/unit_test.go", `"systemd-analyze", "security", "--offline=true"`},
	"bluez-esphome-setup private":                  {"scripts/install/chroot.sh", "in_root bluez-esphome-setup private"},
	"bluez-esphome-setup take-over":                {"scripts/install/chroot.sh", "in_root bluez-esphome-setup take-over"},
	"bluez-esphome-setup controller":               {"scripts/install/inside-controller.sh", `ok "bluez-esphome-setup controller" bluez-esphome-setup controller`},
	"make test-controller":                         {"Makefile", "sh scripts/test-controller.sh"},
	"make test-matter":                             {"Makefile", "sh scripts/test-matter.sh"},
	// by apt remove, in make test-install
	"bluez-esphome-setup give-back":                          {"scripts/deb/prerm", "bluez-esphome-setup give-back"},
	"bin/bluez-esphome discover":                             {"tests/link/netns_test.go", `harness.Binary(), "discover"`},
	"bluez-esphome discover":                                 {"tests/link/netns_test.go", `harness.Binary(), "discover"`},
	"bluez-esphome version":                                  {"cmd/bluez-esphome/testdata/script/version.txtar", "exec bluez-esphome version"},
	"bluez-esphome status":                                   {"cmd/bluez-esphome/testdata/script/demo.txtar", "bluez-esphome status'"},
	"bluez-esphome status --json":                            {"cmd/bluez-esphome/testdata/script/demo.txtar", "bluez-esphome status --json'"},
	"bluez-esphome status NAME":                              {"cmd/bluez-esphome/testdata/script/demo.txtar", "bluez-esphome status garage'"},
	"bluez-esphome status -v":                                {"cmd/bluez-esphome/testdata/script/demo.txtar", "bluez-esphome status -v'"},
	"bluez-esphome status attic":                             {"tests/docs/status_test.go", "bluez-esphome ([^"},
	"bluez-esphome take NAME":                                {"tests/firmware/hosts_test.go", `".Take"`},
	"bluez-esphome take kitchen":                             {"tests/firmware/hosts_test.go", `".Take"`},
	`bluez-esphome status "Hallway 42"`:                      {"cmd/bluez-esphome/testdata/script/demo.txtar", `bluez-esphome status "Garden Thermo"`},
	"bluez-esphome devices":                                  {"cmd/bluez-esphome/testdata/script/demo.txtar", "bluez-esphome devices'"},
	"git clone REPOSITORY bluez-esphome && cd bluez-esphome": {"scripts/release-check.sh", "git clone -q . "},
	"docker compose up":                                      {"scripts/install/container.sh", `ok "compose up -d" compose up -d`},
	"bluez-esphome-setup status":                             {"scripts/deb/bluez-esphome-setup", "status)"},
	"apt install ./FILE.deb":                                 {"scripts/install/chroot.sh", `ok "upgrade" apt install`},
	"apt install --allow-downgrades ./FILE.deb":              {},
	"bin/bluez-esphome run --config FILE":                    {"scripts/run.sh", `"$program" run --config "$CONFIG"`},
	"bluetoothctl remove ADDRESS":                            {},
	"systemctl disable --now bluez-esphome":                  {},
	"esphome run kitchen.yaml":                               {},
	// what the signal does
	"pkill -HUP -f 'bluez-esphome run'":               {"internal/daemon/reload_test.go", "Reload("},
	"kill -QUIT PID":                                  {},
	"usermod -a -G bluez-esphome-bus USER":            {},
	"apt remove bluez-esphome":                        {"scripts/install/chroot.sh", "apt remove"},
	"apt purge bluez-esphome":                         {"scripts/install/chroot.sh", "apt purge"},
	"bluez-esphome check --config FILE":               {"cmd/bluez-esphome/testdata/script/config.txtar", "bluez-esphome check --config good.yaml"},
	"bluez-esphome check --try FILE":                  {"cmd/bluez-esphome/check_test.go", `"check", "--try", file`},
	"bluetoothctl scan le":                            {"tests/clients/run_test.go", `say("scan le"`},
	"go test ./tests/link -update":                    {"tests/link/main_test.go", "update"},
	"sudo bluez-esphome capture bug.btsnoop --redact": {"tests/capture/capture_test.go", `{"redacted", "--redact"}`},
	"bluez-esphome capture --redact FILE.btsnoop":     {"tests/capture/capture_test.go", `{"redacted", "--redact"}`},
	"bluez-esphome capture FILE.btsnoop":              {"tests/capture/capture_test.go", `"capture", "--bus"`},
	"bluez-esphome simulate --proxy kitchen=127.0.0.1:6053 --peripherals bug.btsnoop": {"tests/capture/capture_test.go", `harness.Simulate(t, w.file("all")`},
	"bluez-esphome provision NAME": {"cmd/bluez-esphome/provision_test.go", `"provision", "kitchen"`},
	"tshark -r FILE":               {"tests/capture/capture_test.go", `"tshark", "-r"`},
	"btmon -r FILE":                {},
	"go test ./tests/capture":      {},
	// Commands of other programs that a document only mentions.
	"apt install dbus-daemon":                     {"scripts/lib.sh", "list dbus-daemon"},
	"journalctl -u bluez-esphome":                 {},
	"make test-clients-extra":                     {},
	"DBUS_SYSTEM_BUS_ADDRESS=unix:path=…":         {}, // what the program prints
	"sudo --preserve-env=DBUS_SYSTEM_BUS_ADDRESS": {},
}

// here are the commands of the README that TestReadme runs.
var here = []string{
	"make run", "install -m 600 configs/bluez-esphome.yaml my.yaml", "bin/bluez-esphome check --try my.yaml", "make run CONFIG=my.yaml", "bin/bluez-esphome status", "bin/bluez-esphome devices",
}

// TestCommands: each command of the documents that people follow is run by a test.
func TestCommands(t *testing.T) {
	t.Parallel()
	total := 0
	for _, name := range []string{"README.md", "docs/troubleshooting.md", "docs/operations.md", "docs/proxies.md", "docs/home-assistant.md", "docs/install.md", "docs/evidence/link.md", "docs/evidence/clients.md"} {
		d := read(t, name)
		total += len(d.commands)
		for _, c := range d.commands {
			if name == "README.md" && slices.Contains(here, c) {
				continue
			}
			by, known := elsewhere[c]
			if !known {
				t.Errorf("%s: no test is known to run %q: run it in TestReadme, or say in elsewhere which test does", name, c)
				continue
			}
			if by.file == "" {
				if name == "README.md" {
					t.Errorf("%s: nobody runs %q", name, c)
				}
				continue
			}
			if b, err := os.ReadFile(harness.Path(t, filepath.FromSlash(by.file))); err != nil || !strings.Contains(string(b), by.contains) {
				t.Errorf("%s: %q is not run by %s any more: %q is not in it (%v)", name, c, by.file, by.contains, err)
			}
		}
	}
	readme := read(t, "README.md").commands
	for _, c := range here {
		if !slices.Contains(readme, c) {
			t.Errorf("TestReadme runs %q, which the README does not tell to", c)
		}
	}
	if total < 30 || len(readme) < 12 {
		t.Errorf("%d commands found, %d of them in the README: do the documents look different now?", total, len(readme))
	}
	t.Logf("%d commands, %d in the README", total, len(readme))
}

// TestLinks: files that a document links are there, and so are the targets of make that it names.
func TestLinks(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(harness.Path(t, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	links, targets := 0, 0
	for _, name := range documents(t) {
		d := read(t, name)
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(d.text, -1) {
			links++
			target := path.Join(path.Dir(name), m[1])
			if _, err := os.Stat(harness.Path(t, filepath.FromSlash(target))); err == nil {
				continue
			}
			t.Errorf("%s links %s, which is not there", name, target)
		}
		for _, m := range regexp.MustCompile("(?m)(?:^    |`)make ([a-z][a-z-]*)").FindAllStringSubmatch(d.text, -1) {
			targets++
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no make %s", name, m[1])
			}
		}
	}
	if links < 40 || targets < 12 {
		t.Errorf("%d links and %d targets found: do the documents look different now?", links, targets)
	}
}

// TestAnchors: headings that a link leads to are there.
func TestAnchors(t *testing.T) {
	t.Parallel()
	found, known := 0, map[string][]string{}
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]*)#([^)]+)\)`).FindAllStringSubmatch(read(t, name).text, -1) {
			target := name
			if m[1] != "" {
				target = path.Join(path.Dir(name), m[1])
			}
			found++
			if known[target] == nil {
				known[target] = anchors(t, target)
			}
			if !slices.Contains(known[target], m[2]) {
				t.Errorf("%s links %s#%s; %s has no such heading", name, m[1], m[2], target)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links to headings found", found)
	}
}

// anchors lists what the headings of a document are called in links: in lower case, with hyphens for spaces, and
// without punctuation (GitHub's rule).
func anchors(t *testing.T, name string) (out []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(read(t, name).text, -1) {
		anchor := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(anchor, " ", "-"))
	}
	return out
}

// TestCommandLine: commands and flags of the program that documents name are known to it.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile("`(?:bin/)?bluez-esphome ([a-z]+)((?: --?[a-z-]+)*)").FindAllStringSubmatch(read(t, name).text, -1) {
			if seen[m[1]+m[2]] {
				continue
			}
			seen[m[1]+m[2]] = true
			args := append([]string{m[1]}, "--help")
			p := harness.Start(t, nil, harness.Binary(), args...)
			if status := p.Wait(t, harness.Limit); status != 0 {
				t.Errorf("%s: bluez-esphome %s: status %d", name, m[1], status)
			}
			for _, flag := range strings.Fields(m[2]) {
				if !regexp.MustCompile(`(?m)^ +(-., )?`+flag+`\b`).MatchString(p.Out.String()) && !regexp.MustCompile(`(?m)^ +`+flag+`, `).MatchString(p.Out.String()) {
					t.Errorf("%s: bluez-esphome %s has no flag %s", name, m[1], flag)
				}
			}
		}
	}
	if len(seen) < 6 {
		t.Errorf("only %d commands found", len(seen))
	}
}
