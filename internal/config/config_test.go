package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testKey = "QRTIErOb/fcE9Ukd/5qA3RGYMn0Y+p06U58SCtOXvPc="

// shareKey is another one.
const shareKey = "dGhlIGtleSBvZiB0aGUga2l0Y2hlbiBwcm94eSBvayE="

// exportSecrets lets cmp compare what the types hide.
var exportSecrets = cmp.AllowUnexported(Secret{}, Password{})

// mapFiles serves key files from memory; names are absolute.
type mapFiles struct{ fstest.MapFS }

func (m mapFiles) Stat(name string) (fs.FileInfo, error) { return m.MapFS.Stat(name[1:]) }
func (m mapFiles) ReadFile(name string) ([]byte, error)  { return m.MapFS.ReadFile(name[1:]) }

func file(text string, mode fs.FileMode) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(text), Mode: mode}
}

// testLoader reads from memory as an ordinary user with the given environment.
func testLoader(fsys fstest.MapFS, env map[string]string) *loader {
	return &loader{
		path: "/etc/b/b.yaml",
		fsys: mapFiles{fsys},
		getenv: func(k string) string {
			if v, ok := env[k]; ok {
				return v
			}
			return map[string]string{"HOME": "/home/u"}[k]
		},
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := testLoader(nil, nil).parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func defaultConfig() *Config {
	return &Config{
		Path: "/etc/b/b.yaml", Bus: BusSystem, StateDir: "/home/u/.local/state/bluez-esphome",
		Adapters: AdaptersMerged, AdapterAlias: "ESPHome proxies",
		Link:       Link{PingAfter: 10 * time.Second, DeadAfter: 20 * time.Second},
		Connect:    Connect{Timeout: 20 * time.Second, PerPath: 8 * time.Second, SlotWait: 5 * time.Second},
		MaxDevices: 16384,
		Share:      Share{Offer: ShareEach, Identity: IdentityOwn, BasePort: 16053, Names: "{name}-shared", InUse: InUseShare},
		Log:        Log{Level: slog.LevelInfo, Format: LogAuto},
		Warnings:   []string{`/etc/b/b.yaml: no proxies: list them under "proxies", or set auto_add; until then nothing is heard`},
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "comment": "# nothing\n", "null": "null\n", "nulls": "proxies: null\nlink: null\nlog: {level: null}\n",
		"mark": "---\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(defaultConfig(), parse(t, text), exportSecrets); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestExample holds the documented example against the defaults, and against the schema: each key
// is in it, at least in a comment.
func TestExample(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../configs/bluez-esphome.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(defaultConfig(), parse(t, string(b)), exportSecrets); d != "" {
		t.Errorf("the example is not the defaults:\n%s", d)
	}
	for _, key := range allKeys(reflect.TypeFor[raw](), "") {
		last := key[strings.LastIndexByte(key, '.')+1:]
		if !bytes.Contains(b, []byte(last+":")) {
			t.Errorf("key %s is not documented", key)
		}
	}
	// The entries in comments are valid too.
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		text.WriteString(strings.TrimPrefix(line, "#"))
	}
	entry := text.String()
	i, j := strings.Index(entry, "   - address: kitchen"), strings.Index(entry, "\n The shortest")
	k, l := strings.Index(entry, `   - address: "AA`), strings.Index(entry, "devices: []")
	full := "proxies:\n" + strings.Replace(entry[i:j], "noise_psk: null", "# ", 1) +
		"   - address: 192.168.1.30\n     name: hall\n   - {address: 192.168.1.31, name: garage}\n" + "devices:\n" + entry[k:l]
	ld := testLoader(fstest.MapFS{"etc/b/kitchen.key": file(testKey+"\n", 0o600)}, nil)
	c, err := ld.parse([]byte(full))
	if err != nil {
		t.Fatalf("%v\n%s", err, full)
	}
	if len(c.Proxies) != 3 || len(c.Devices) != 2 || !c.Proxies[0].NoisePSK.IsSet() {
		t.Errorf("commented entries: %+v", c)
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	c := parse(t, `
bus: unix:path=/run/b
state_dir: /s
adapters: per-proxy
adapter_alias: Büro
proxies:
  - {address: Kitchen.local., noise_psk: `+testKey+`, name: Kitchen.local, mac: aa:bb:cc:dd:ee:ff}
  - {address: "10.0.0.1:1", password: secret, name: true, scan_mode: active, on_conflict: retake, on_no_slot: fail}
  - address: "[fe80::1%eth0]:7"
devices:
  - {address: "11:22:33:44:55:66", pin: Kitchen.local}
  - {address: "11:22:33:44:55:67", prefer: [a, b], deny: [c]}
auto_add: {}
link: {ping_after: 1s, dead_after: 1500ms}
connect: {timeout: 2s, per_path: 2s, slot_wait: 0s}
max_devices: 7
share: {listen: 0.0.0.0, base_port: 100, noise_psk: `+shareKey+`, names: "x {name}", in_use: refuse, offer: merged}
http: {listen: ":9551"}
log: {level: debug, format: json, redact: true}
`)
	key, err := ParseSecret(testKey)
	if err != nil {
		t.Fatal(err)
	}
	share, err := ParseSecret(shareKey)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path: "/etc/b/b.yaml", Bus: "unix:path=/run/b", StateDir: "/s", Adapters: AdaptersPerProxy, AdapterAlias: "Büro",
		Proxies: []Proxy{
			{Host: "Kitchen.local.", Port: 6053, NoisePSK: key, Name: "Kitchen.local", MAC: 0xaabbccddeeff, HasMAC: true, ScanMode: ScanAuto, OnConflict: ConflictYield, OnNoSlot: NoSlotWait, Line: 7},
			{Host: "10.0.0.1", Port: 1, Password: NewPassword("secret"), Name: "true", ScanMode: ScanActive, OnConflict: ConflictRetake, OnNoSlot: NoSlotFail, Line: 8},
			{Host: "fe80::1%eth0", Port: 7, ScanMode: ScanAuto, OnConflict: ConflictYield, OnNoSlot: NoSlotWait, Line: 9},
		},
		Devices: []Device{
			{Address: 0x112233445566, Pin: "Kitchen.local"},
			{Address: 0x112233445567, Prefer: []string{"a", "b"}, Deny: []string{"c"}},
		},
		AutoAdd: &AutoAdd{}, Link: Link{time.Second, 1500 * time.Millisecond},
		Connect: Connect{2 * time.Second, 2 * time.Second, 0}, MaxDevices: 7,
		Share: Share{Listen: "0.0.0.0", Offer: ShareMerged, Identity: IdentityOwn, BasePort: 100, NoisePSK: share, Names: "x {name}", InUse: InUseRefuse},
		HTTP:  HTTP{Listen: "127.0.0.1:9551"},
		Log:   Log{Level: slog.LevelDebug, Format: LogJSON, Redact: true},
	}
	for _, name := range []string{"a", "b", "c"} {
		want.Warnings = append(want.Warnings, fmt.Sprintf("b.yaml:12: no entry of proxies is named %q: the rule counts only if the device of an entry "+
			"without name calls itself so; give that entry this name", name))
	}
	if d := cmp.Diff(want, c, exportSecrets); d != "" {
		t.Error(d)
	}
}

var update = flag.Bool("update", false, "write testdata/mistakes.txt anew")

// TestMistakes: each mistake gives exactly the lines below it.
func TestMistakes(t *testing.T) {
	const path = "testdata/mistakes.txt"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{
		"etc/b/open.key":  file(testKey, 0o644),
		"etc/b/short.key": file("AAAA", 0o600),
		"etc/b/dir.key":   {Mode: fs.ModeDir | 0o700},
		"etc/b/good.key":  file(testKey, 0o640),
	}
	cases := strings.Split(string(b), "=== ")
	rewritten := cases[0]
	for _, text := range cases[1:] {
		name, rest, _ := strings.Cut(text, "\n")
		input, want, ok := strings.Cut(rest, "---\n")
		if !ok {
			t.Fatalf("%s: case %q has no --- line", path, name)
		}
		t.Run(name, func(t *testing.T) {
			c, err := testLoader(fsys, nil).parse([]byte(input))
			got := strings.TrimSpace(strings.ReplaceAll(fmt.Sprint(err), "/etc/b/b.yaml:", ""))
			rewritten += "=== " + name + "\n" + input + "---\n" + got + "\n\n"
			if d := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), strings.Split(got, "\n")); d != "" && !*update {
				t.Errorf("-want +got:\n%s", d)
			}
			if typed := (*Error)(nil); !errors.As(err, &typed) || c != nil {
				t.Errorf("config %v, error of type %T", c, err)
			}
			if strings.Contains(got, testKey[:20]) {
				t.Error("an error shows a key")
			}
		})
	}
	if *update {
		if err := os.WriteFile(path, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cases", len(cases)-1)
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"BLUEZ_ESPHOME_BUS": "private", "BLUEZ_ESPHOME_LINK_PING_AFTER": "3s", "BLUEZ_ESPHOME_SHARE_NOISE_PSK": testKey,
		// empty counts as unset; the other is not ours
		"BLUEZ_ESPHOME_LOG_LEVEL": "", "BLUEZ_ESPHOME_PORT": "tcp://10.0.0.1:1",
		"BLUEZ_ESPHOME_ADAPTER_ALIAS": "a.b",
	}
	c, err := testLoader(nil, env).parse([]byte("bus: system\nlog: {level: warn}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Bus != BusPrivate || c.Link.PingAfter != 3*time.Second || !c.Share.NoisePSK.IsSet() || c.Log.Level != slog.LevelWarn || c.AdapterAlias != "a.b" {
		t.Errorf("got %+v", c)
	}
	_, err = testLoader(nil, map[string]string{"BLUEZ_ESPHOME_MAX_DEVICES": "many"}).parse(nil)
	if want := `environment: BLUEZ_ESPHOME_MAX_DEVICES: "many" is not a whole number from 1 to 1048576`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestStateDir(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  map[string]string
		root bool
		want string
	}{
		"root":           {map[string]string{"XDG_STATE_HOME": "/x"}, true, "/var/lib/bluez-esphome"},
		"systemd":        {map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, true, "/var/lib/a"},
		"systemd's user": {map[string]string{"STATE_DIRECTORY": "/var/lib/a", "XDG_STATE_HOME": "/x"}, false, "/var/lib/a"},
		"xdg":            {map[string]string{"XDG_STATE_HOME": "/x"}, false, "/x/bluez-esphome"},
		"relative xdg":   {map[string]string{"XDG_STATE_HOME": "x"}, false, "/home/u/.local/state/bluez-esphome"},
		"nothing":        {map[string]string{"HOME": ""}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLoader(nil, tc.env)
			l.root = tc.root
			c, err := l.parse(nil)
			if tc.want == "" {
				if err == nil {
					t.Error("no error")
				}
			} else if err != nil || c.StateDir != tc.want {
				t.Errorf("got %v, %v; want %s", c, err, tc.want)
			}
		})
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{
		"etc/b/keys/k": file("  "+testKey+"\r\n", 0o600),
		"cred/k":       file(testKey, 0o400),
		"etc/b/only":   file(testKey, 0o400),
	}
	credentials := map[string]string{"CREDENTIALS_DIRECTORY": "/cred"}
	for name, tc := range map[string]struct {
		file string
		env  map[string]string
		ok   bool
	}{
		"relative": {"keys/k", credentials, true}, "absolute": {"/cred/k", credentials, true}, "credential": {"k", credentials, true},
		"not a credential": {"only", credentials, true}, "missing": {"none", credentials, false},
		"credential without systemd": {"keys_k", nil, true},
		// What systemd handed on counts: the daemon would not see the file itself.
		"not handed on": {"keys_k", credentials, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLoader(fsys, tc.env)
			c, err := l.parse([]byte("proxies: [{address: a, noise_psk_file: " + tc.file + "}]"))
			if (err == nil) != tc.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil && !c.Proxies[0].NoisePSK.IsSet() {
				t.Error("no key")
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	text := "proxies: [{address: a, noise_psk: " + testKey + "}]\nstate_dir: /s\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "everybody may read or write it (mode 0644); chmod 0640") || strings.Contains(err.Error(), testKey) {
		t.Errorf("readable: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || len(c.Warnings) != 0 {
		t.Errorf("private: %v %v", c, err)
	}
	open := filepath.Join(dir, "open.yaml")
	for text, ok := range map[string]bool{
		"proxies: [{address: a, password: x}]\nstate_dir: /s\n":   false,
		"share: {noise_psk: " + testKey + "}\nstate_dir: /s\n":    false,
		"auto_add: {noise_psk: " + testKey + "}\nstate_dir: /s\n": false,
		"proxies: [{address: a}]\nstate_dir: /s\n":                true, // nothing to hide
	} {
		if err := os.WriteFile(open, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(open); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("large: %v", err)
	}
	if _, err := Parse(make([]byte, maxFile+1), path); err == nil {
		t.Error("large bytes: no error")
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	c := parse(t, "proxies: [{address: a, noise_psk: "+testKey+", password: hunter2}]")
	p := c.Proxies[0]
	var logs bytes.Buffer
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "psk", p.NoisePSK, "password", p.Password, "proxy", p)
	slog.New(slog.NewTextHandler(&logs, nil)).Info("x", "psk", p.NoisePSK, "password", p.Password, "proxy", p, "config", c)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	key := p.NoisePSK.Key()
	out := logs.String() + string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		out += fmt.Sprintf(verb+verb+verb, p, p.NoisePSK, p.Password)
	}
	for _, leak := range []string{testKey[:10], "hunter2", fmt.Sprintf("%x", key[:6]), fmt.Sprint(key[:4]), fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(out, strings.Trim(leak, "[]")) {
			t.Errorf("%q shows in %s", leak, out)
		}
	}
	if !strings.Contains(out, redacted) || fmt.Sprint(Secret{}) != "" || p.Password.Reveal() != "hunter2" {
		t.Errorf("placeholder: %s", out)
	}
}

func TestSplitAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"kitchen": "kitchen 6053", "kitchen.local.": "kitchen.local. 6053", "k:1": "k 1", "192.168.1.2": "192.168.1.2 6053",
		"192.168.1.2:6054": "192.168.1.2 6054", "::1": "::1 6053", "fe80::1%eth0": "fe80::1%eth0 6053", "[::1]": "::1 6053",
		"[2001:db8::1]:99": "2001:db8::1 99", "my_proxy-2.lan:65535": "my_proxy-2.lan 65535",
		"": "", "k:": "", "k:0": "", "k:65536": "", "k:x": "", ":6053": "", "a:b:c": "", "[k]:1": "", "[1.2.3.4]:1": "", "192.168.1.300": "",
		"1.2.3": "", "a..b": "", "a b": "", "tcp://a": "", "http://a:1": "", "ä.local": "", "[::1": "", "a/b": "", strings.Repeat("a", 64): "",
		strings.Repeat("a.", 127) + "a": "", "[]": "", "[]:1": "", ".": "",
	} {
		host, port, err := SplitAddress(in)
		got := ""
		if err == nil {
			got = fmt.Sprint(host, " ", port)
		}
		if got != want {
			t.Errorf("SplitAddress(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestPathElement(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "_", "kitchen": "kitchen", "Kitchen.local": "Kitchen_2elocal", "a-b": "a_2db", "a_b": "a_5fb", "2nd": "_32nd", "n2": "n2", "ü/": "_c3_bc_2f",
	} {
		if got := PathElement(in); got != want {
			t.Errorf("PathElement(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	// A proxy without a name is named by itself, and auto_add may add any: then names cannot be checked.
	for _, text := range []string{
		"proxies: [{address: a}, {address: b, name: hall}]\ndevices: [{address: '00:00:00:00:00:01', pin: other}]",
		"proxies: [{address: b, name: hall}]\nauto_add: {}\ndevices: [{address: '00:00:00:00:00:01', pin: other}]",
	} {
		if c := parse(t, text); c.Devices[0].Pin != "other" {
			t.Errorf("%+v", c.Devices)
		}
	}
}

// A rule whose name no entry has is told: which proxy it means is then up to what devices call themselves, or nobody.
func TestRuleOfNobody(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string // parts of the warnings, in order
	}{
		{"named", "proxies: [{name: kitchen, address: 192.0.2.1}]\nauto_add: {}\ndevices: [{address: \"AA:BB:CC:DD:EE:FF\", pin: kitchen}]\n", nil},
		{"by the host's label", "proxies: [{address: Kitchen.local.}]\ndevices: [{address: \"AA:BB:CC:DD:EE:FF\", pin: kitchen}]\n", nil},
		{
			"by what the device says", "proxies: [{address: 192.0.2.1}]\ndevices:\n  - {address: \"AA:BB:CC:DD:EE:FF\", prefer: [kitchen], deny: [hall]}\n",
			[]string{`test:3: no entry of proxies is named "kitchen": the rule counts only if the device of an entry without name`, `named "hall"`},
		},
		{
			"one that is found", "proxies: [{name: hall, address: 192.0.2.1}]\nauto_add: {}\ndevices:\n  - {address: \"AA:BB:CC:DD:EE:FF\", pin: kitchen}\n",
			[]string{`test:4: no entry of proxies is named "kitchen": the rule means nobody, since a proxy that auto_add finds may claim any name`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := Parse([]byte(tc.text), "test")
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Warnings) != len(tc.want) {
				t.Fatalf("warnings %q", cfg.Warnings)
			}
			for i, w := range tc.want {
				if !strings.Contains(cfg.Warnings[i], w) {
					t.Errorf("%q does not say %q", cfg.Warnings[i], w)
				}
			}
		})
	}
}
