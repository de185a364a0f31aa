// Package install tests the Debian package and its content: units, D-Bus policies, manual pages and licences.
// scripts/test-install.sh installs the package and tests the result.
package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// A pack is a built package.
type pack struct {
	path  string
	files map[string]file
}

type file struct {
	mode int64
	data []byte
}

// compression is a setting of deb.sh: by day it compresses quickly, by night as it does for users.
func compression() string { return "DEB_COMPRESS=" + harness.ByNight("-Zgzip -z1", "") }

// build makes the package for this host's architecture. Without Debian's tools it skips the test.
func build(t *testing.T, env ...string) *pack {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("there is no dpkg-deb to build packages with (apt install dpkg)")
	}
	arch := debArch(t)
	dir := t.TempDir()
	run(t, append(env, "OUT="+dir, "VERSION=v1.2.3-4-gabc", "SOURCE_DATE_EPOCH=1700000000", compression()), "sh", "scripts/deb.sh", arch)
	p := &pack{path: filepath.Join(dir, "bluez-esphome_1.2.3+4+gabc_"+arch+".deb"), files: map[string]file{}}
	out := run(t, nil, "dpkg-deb", "--fsys-tarfile", p.path)
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			p.files[strings.TrimPrefix(h.Name, ".")] = file{h.Mode, data}
		}
	}
}

// debArch is Debian's name of this host's architecture.
func debArch(t *testing.T) string {
	t.Helper()
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64", "arm": "armhf"}[runtime.GOARCH]
	if arch == "" {
		t.Skipf("there is no package for %s (run it on amd64, arm64 or arm)", runtime.GOARCH)
	}
	return arch
}

func (p *pack) text(t *testing.T, name string) string {
	t.Helper()
	f, ok := p.files[name]
	if !ok {
		t.Fatalf("the package has no %s", name)
	}
	if !strings.HasSuffix(name, ".gz") {
		return string(f.data)
	}
	r, err := gzip.NewReader(bytes.NewReader(f.data))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// run runs a command in the repository.
func run(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	var errs bytes.Buffer
	c := exec.Command(name, args...)
	c.Dir, c.Stderr, c.Env = harness.Path(t), &errs, append(os.Environ(), env...)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return out
}

// TestPackage builds the package once and checks everything in it.
func TestPackage(t *testing.T) {
	p := build(t)
	bin := filepath.Join(t.TempDir(), "bluez-esphome")
	if err := os.WriteFile(bin, p.files["/usr/bin/bluez-esphome"].data, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("control", func(t *testing.T) {
		control := string(run(t, nil, "dpkg-deb", "--field", p.path))
		for _, want := range []string{"Package: bluez-esphome\n", "Version: 1.2.3+4+gabc\n", "dbus-system-bus"} {
			if !strings.Contains(control, want) {
				t.Errorf("control lacks %q:\n%s", want, control)
			}
		}
		conffiles := string(run(t, nil, "dpkg-deb", "--info", p.path, "conffiles"))
		if conffiles != "/etc/bluez-esphome/bluez-esphome.yaml\n" {
			t.Errorf("conffiles: %q", conffiles)
		}
		for _, s := range []string{"postinst", "prerm", "postrm"} {
			if b := run(t, nil, "dpkg-deb", "--info", p.path, s); !bytes.HasPrefix(b, []byte("#!/bin/sh\n")) {
				t.Errorf("%s is no shell script", s)
			}
		}
	})
	t.Run("modes", func(t *testing.T) {
		for name, f := range p.files {
			want := int64(0o644)
			if strings.HasPrefix(name, "/usr/bin/") || strings.HasPrefix(name, "/usr/sbin/") {
				want = 0o755
			}
			if f.mode != want {
				t.Errorf("%s has mode %o, want %o", name, f.mode, want)
			}
		}
	})
	t.Run("static binary", func(t *testing.T) {
		f, err := elf.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
			t.Errorf("it needs %q (%v)", libs, err)
		}
		if out := string(run(t, nil, bin, "version")); out != "bluez-esphome 1.2.3+4+gabc\n" {
			t.Errorf("version: %q", out)
		}
	})
	t.Run("copyright", func(t *testing.T) {
		info, err := buildinfo.ReadFile(bin)
		if err != nil {
			t.Fatal(err)
		}
		text := p.text(t, "/usr/share/doc/bluez-esphome/copyright")
		for _, m := range info.Deps {
			if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(m.Path+" "+m.Version) + `: [A-Z]`).MatchString(text) {
				t.Errorf("copyright names no licence of %s %s", m.Path, m.Version)
			}
		}
		if !strings.Contains(text, "Copyright (c) 2013, Georg Reinke") { // godbus
			t.Error("copyright does not repeat the licences")
		}
		t.Logf("%d modules", len(info.Deps))
	})
	t.Run("manual", func(t *testing.T) { checkManual(t, p, bin) })
	t.Run("documents", func(t *testing.T) { checkDocuments(t, p) })
	t.Run("width", func(t *testing.T) { checkWidth(t, p) })
	t.Run("completions", func(t *testing.T) {
		for _, name := range []string{
			"/usr/share/bash-completion/completions/bluez-esphome", "/usr/share/zsh/vendor-completions/_bluez-esphome",
			"/usr/share/fish/vendor_completions.d/bluez-esphome.fish",
		} {
			if !strings.Contains(p.text(t, name), "__complete") {
				t.Errorf("%s does not complete", name)
			}
		}
	})
	t.Run("bus", func(t *testing.T) {
		for name, want := range map[string]string{
			"/usr/share/dbus-1/system.d/bluez-esphome.conf":            `<policy user="bluez-esphome">`,
			"/usr/lib/dbus-1/system-services/org.bluez.service":        "SystemdService=dbus-org.bluez.service",
			"/usr/lib/sysusers.d/bluez-esphome.conf":                   "\nu bluez-esphome ",
			"/usr/lib/tmpfiles.d/bluez-esphome.conf":                   "d /var/lib/bluez-esphome 0700 bluez-esphome",
			"/usr/lib/systemd/system/bluez-esphome.service":            "\nAlias=dbus-org.bluez.service",
			"/usr/lib/systemd/system/bluez-esphome-private.service":    "--bus private",
			"/usr/lib/systemd/system/bluez-esphome-controller.service": "\nDeviceAllow=/dev/vhci rw\n",
			"/usr/share/bluez-esphome/vhci.rules":                      `GROUP="bluez-esphome", MODE="0660"`,
			"/usr/share/bluez-esphome/vhci-modules.conf":               "\nhci_vhci\n",
			"/usr/share/doc/bluez-esphome/changelog.gz":                "bluez-esphome (1.2.3+4+gabc) ",
			"/usr/share/doc/bluez-esphome/home-assistant.md":           "## Three steps",
			"/usr/share/doc/bluez-esphome/grafana-dashboard.json":      "bluez_esphome_proxy_state",
		} {
			if text := p.text(t, name); !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", name, want)
			} else if strings.HasSuffix(name, ".conf") && strings.HasPrefix(text, "<?xml") {
				if err := xml.Unmarshal([]byte(text), new(any)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
	t.Run("lint", func(t *testing.T) {
		if _, err := exec.LookPath("lintian"); err != nil {
			t.Skip("lintian is not installed (apt install lintian)")
		}
		out := run(t, nil, "lintian", "--fail-on", "none", "--allow-root", p.path)
		if lines := regexp.MustCompile(`(?m)^[EW]: .*$`).FindAllString(string(out), -1); len(lines) > 0 {
			t.Errorf("lintian:\n%s", strings.Join(lines, "\n"))
		}
	})
	t.Run("reproducible", func(t *testing.T) {
		harness.OnlyNightly(t)
		again, err := os.ReadFile(build(t).path)
		if err != nil {
			t.Fatal(err)
		}
		if first, err := os.ReadFile(p.path); err != nil || !bytes.Equal(first, again) {
			t.Errorf("two builds of one commit differ (%v)", err)
		}
	})
}

var (
	commandLine = regexp.MustCompile(`(?m)^  ([a-z]+) +\S`)
	flagName    = regexp.MustCompile(`(?m)^ +(?:-[a-z], )?(--[a-z-]+)`)
)

// checkManual compares the manual pages with the program's own help.
func checkManual(t *testing.T, p *pack, bin string) {
	page := strings.ReplaceAll(p.text(t, "/usr/share/man/man1/bluez-esphome.1.gz"), `\-`, "-")
	_, list, _ := strings.Cut(string(run(t, nil, bin, "--help")), "\nCommands:\n")
	list, _, _ = strings.Cut(list, "\n\nFlags:")
	commands := commandLine.FindAllStringSubmatch(list, -1)
	flags := 0
	for _, c := range commands {
		heading := regexp.MustCompile(`(?m)^\.SS ` + c[1] + `( .*)?$`).FindStringIndex(page) // an argument may follow the name
		if heading == nil {
			t.Errorf("bluez-esphome(1) has no section %s", c[1])
			continue
		}
		section, _, _ := strings.Cut(page[heading[1]:], "\n.S")
		_, help, _ := strings.Cut(string(run(t, nil, bin, c[1], "--help")), "\nFlags:")
		for _, f := range flagName.FindAllStringSubmatch(help, -1) {
			flags++
			if f[1] != "--help" && !strings.Contains(section, f[1]) {
				t.Errorf("bluez-esphome(1) does not tell of %s %s", c[1], f[1])
			}
		}
	}
	if len(commands) < 10 || flags < 20 {
		t.Errorf("%d commands and %d flags found: does the help look different now?", len(commands), flags)
	}
	for status := range 5 {
		if !strings.Contains(page, "\n.TP\n.B "+strconv.Itoa(status)+"\n") {
			t.Errorf("bluez-esphome(1) does not explain exit status %d", status)
		}
	}
	yaml := strings.NewReplacer(`\-`, "-", `\e`, `\`, `\&`, "").Replace(p.text(t, "/usr/share/man/man5/bluez-esphome.yaml.5.gz"))
	config, err := os.ReadFile(harness.Path(t, "configs", "bluez-esphome.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(yaml, ".nf\n"+string(config)+".fi\n") {
		t.Error("bluez-esphome.yaml(5) does not have the configuration as it is")
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Log("skipped: no groff to check the pages with")
		return
	}
	for _, name := range []string{"man1/bluez-esphome.1", "man5/bluez-esphome.yaml.5", "man8/bluez-esphome-setup.8"} {
		src := filepath.Join(t.TempDir(), "page")
		if err := os.WriteFile(src, []byte(p.text(t, "/usr/share/man/"+name+".gz")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z", src).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
