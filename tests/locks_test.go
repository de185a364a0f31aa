package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bluez-esphome/internal/lockorder"
	"bluez-esphome/tests/harness"
)

// TestLockOrderIsDocumented: docs/architecture.md has all ranks, in their order.
func TestLockOrderIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(harness.Path(t, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## Locks\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\|").FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	if want := lockorder.Names(); !slices.Equal(got, want) {
		t.Errorf("the page has the locks %q, the program %q", got, want)
	}
}

// unranked are the packages whose locks have no rank: what only tests and the simulator run.
var unranked = []string{"internal/lockorder", "internal/proxysim", "internal/links/linkstest", "internal/gatt/gatttest", "internal/bluezshim/shimtest"}

// TestLocksHaveRanks: each lock of the daemon has a place in the order.
func TestLocksHaveRanks(t *testing.T) {
	t.Parallel()
	ranked := 0
	for _, p := range packages(t) {
		dir := strings.TrimPrefix(p.ImportPath, "bluez-esphome/")
		if !strings.HasPrefix(dir, "internal/") || slices.Contains(unranked, dir) {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				switch {
				case !ok:
				case x.Name == "lockorder" && sel.Sel.Name == "Mutex":
					ranked++
				case x.Name == "sync" && (sel.Sel.Name == "Mutex" || sel.Sel.Name == "RWMutex"):
					t.Errorf("%s: a lock without a rank; see internal/lockorder", set.Position(n.Pos()))
				}
				return true
			})
		}
	}
	if ranked < 35 {
		t.Errorf("only %d locks found", ranked)
	}
}
