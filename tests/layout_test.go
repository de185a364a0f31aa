package tests

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Dir = harness.Path(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// TestLayers: packages of the core meet at interfaces, which internal/daemon puts together.
func TestLayers(t *testing.T) {
	t.Parallel()
	const module = "bluez-esphome/internal/"
	allowed := map[string][]string{
		"ble": {}, "lockorder": {}, "lapse": {}, "rawsock": {}, "filelock": {}, "dbusobj": {"rawsock"}, "apiwire": {"apiwire/apipb"}, "apiwire/apipb": {}, "mdns": {},
		"apiconn": {"ble", "apiwire", "apiwire/apipb", "rawsock", "lapse"}, "scanner": {"ble", "lapse"}, "links": {"ble"}, "gatt": {"ble", "links", "lapse"}, "web": {"ble", "advice", "beacon"}, "advice": {}, "beacon": {"ble"},
		"bluezshim": {"ble", "links", "dbusobj", "rawsock", "lapse"}, "status": {"ble", "privatebus", "filelock"}, "apiserver": {"ble", "apiwire", "apiwire/apipb", "lapse"},
		"h4": {"ble"}, "btsnoop": {"ble", "h4"}, "capture": {"ble", "gatt", "links", "lapse", "att", "h4", "btsnoop"},
		"proxysim": {"ble", "apiserver", "apiwire", "apiwire/apipb", "mdns", "lapse", "h4", "btsnoop"}, "config": {"ble"}, "store": {"ble", "filelock"}, "stream": {"ble", "config"}, "privatebus": {"filelock"},
		"relay": {"apiwire", "apiwire/apipb", "lapse"},
		"share": {"ble", "links", "apiserver", "apiwire", "apiwire/apipb", "relay", "lapse"}, "att": {"ble"}, "smp": {"ble"},
		"hci": {"ble", "links", "att", "smp", "h4"}, "logger": {"ble", "config"}, "scanmode": {"ble", "scanner", "lapse"},
		"task": {}, "bus": {"ble", "config", "dbusobj", "rawsock", "privatebus", "filelock"}, "adapters": {"ble", "scanner", "scanmode", "store", "filelock", "lapse"},
	}
	seen := 0
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, listed := allowed[name]
		if !listed {
			continue
		}
		seen++
		for _, dep := range p.Deps {
			if ours, ok := strings.CutPrefix(dep, module); ok && ours != "lockorder" && !slices.Contains(may, ours) {
				t.Errorf("internal/%s depends on internal/%s", name, ours)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d of %d packages found", seen, len(allowed))
	}
}

// TestPackageComments: each package has exactly one.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		var with []string
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				with = append(with, f)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s: package comments in %q, want one", p.ImportPath, with)
		}
	}
}

// TestDependencies: every module that we import is explained.
func TestDependencies(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(harness.Path(t, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^\| ([a-z0-9.-]+\.[a-z]+/[^ |]+) \|`).FindAllStringSubmatch(string(doc), -1)
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
				known := false
				for _, m := range listed {
					if imp == m[1] || strings.HasPrefix(imp, m[1]+"/") {
						known, used[m[1]] = true, true
					}
				}
				if !known {
					t.Errorf("%s imports %s, which docs/dependencies.md does not explain", p.ImportPath, imp)
				}
			}
		}
	}
	t.Logf("%d modules used, %d explained", len(used), len(listed))
}

// TestArchitecture: the document of the layers names every package of ours and every folder of tests.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(harness.Path(t, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, parent := range []string{"internal", "tests"} {
		entries, err := os.ReadDir(harness.Path(t, parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() || e.Name() == "testdata" {
				continue
			}
			named++
			if name := parent + "/" + e.Name(); !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("docs/architecture.md does not name %s", name)
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d folders found", named)
	}
}

// TestPicture compares the picture in docs/architecture.md with go list: every package of ours is in it once, and
// imports only packages that stand in lower lines. So there is no cycle, and the picture shows the direction of all
// imports.
func TestPicture(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(harness.Path(t, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(doc), "<!-- imports -->\n```\n")
	picture, _, ok := strings.Cut(picture, "```")
	if !ok {
		t.Fatal("docs/architecture.md has no picture of the imports")
	}
	line := map[string]int{}
	for n, text := range strings.Split(picture, "\n") {
		for _, name := range regexp.MustCompile(`[a-z0-9-]+`).FindAllString(text, -1) {
			if _, twice := line[name]; twice {
				t.Errorf("%s is in the picture twice", name)
			}
			line[name] = n
		}
	}
	seen := 0
	for _, p := range packages(t) {
		name, ours := drawn(p.ImportPath)
		if !ours {
			continue
		}
		seen++
		if line[name] == 0 && !strings.HasPrefix(picture, name) {
			t.Errorf("%s is not in the picture", name)
		}
		for _, imp := range p.Imports {
			if other, ours := drawn(imp); ours && other != name && line[other] <= line[name] {
				t.Errorf("%s imports %s, which is not below it in the picture", name, other)
			}
		}
	}
	if seen < len(line) {
		t.Errorf("%d packages are drawn, %d found", len(line), seen)
	}
}

// drawn is the name of a package of ours in the picture, which has no packages that only tests import.
func drawn(path string) (name string, ours bool) {
	if path == "bluez-esphome/cmd/bluez-esphome" {
		return "bluez-esphome", true
	}
	name, ours = strings.CutPrefix(path, "bluez-esphome/internal/")
	return name, ours && !strings.Contains(name, "/")
}

// TestSizes: no package has more than 12 % of the code, and internal/daemon, which only puts the others together, has
// less than 1,200 lines.
func TestSizes(t *testing.T) {
	t.Parallel()
	lines, all := map[string]int{}, 0
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, "bluez-esphome/internal/") && !strings.HasPrefix(p.ImportPath, "bluez-esphome/cmd/") {
			continue
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(f, ".pb.go") {
				lines[p.ImportPath] += strings.Count(string(b), "\n")
			}
		}
		all += lines[p.ImportPath]
	}
	for name, n := range lines {
		if n*100 > all*12 {
			t.Errorf("%s has %d of %d lines, more than 12 %%", name, n, all)
		}
	}
	if n := lines["bluez-esphome/internal/daemon"]; n == 0 || n >= 1200 {
		t.Errorf("internal/daemon has %d lines", n)
	}
}
