package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"

	"github.com/google/go-cmp/cmp"
)

// TestNames: the folders, files, tests and identifiers that the documents name are there.
func TestNames(t *testing.T) {
	t.Parallel()
	found := 0
	for _, name := range []string{"SECURITY.md", "HACKING.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/evidence/hardening.md"} {
		for _, m := range span.FindAllStringSubmatch(read(t, name).text, -1) {
			n, missing := missingIn(t, m[1])
			found += n
			for _, what := range missing {
				t.Errorf("%s: `%s`: there is no %s", name, m[1], what)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d names found", found)
	}
}

// TestCells: each cell of SECURITY.md's table of who can do what to whom names the test that tries it.
func TestCells(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(read(t, "SECURITY.md").text, "### Who can do what to whom")
	cells := 0
	for line := range strings.SplitSeq(table, "\n") {
		line = strings.ReplaceAll(line, `\|`, "")
		if strings.HasPrefix(line, "These things are not prevented") {
			break
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| --- ") || strings.HasPrefix(line, "| who ") {
			continue
		}
		row := strings.Split(strings.Trim(line, "| "), " | ")
		for _, cell := range row[1:] {
			if cell == "–" {
				continue
			}
			cells++
			if !strings.Contains(cell, " -run ") && !strings.Contains(cell, "as above") && !strings.HasSuffix(cell, ": the same") {
				t.Errorf("%s: %q names no test", row[0], cell)
			}
		}
	}
	if cells < 15 {
		t.Errorf("only %d cells found", cells)
	}
}

// What is looked up in a piece of code of a document.
var (
	place  = regexp.MustCompile(`(?:^|[ ./])((?:internal|tests|cmd|systemd|configs|scripts|tools)/[\w./-]*\w)`)
	runs   = regexp.MustCompile(`-run (?:'([^']+)'|(\S+))`)
	member = regexp.MustCompile(`^([a-z]\w*)\.([A-Z]\w*)(?:\(\))?$`)
)

// missingIn looks names up. It gives their number, and those that do not exist.
func missingIn(t *testing.T, code string) (found int, missing []string) {
	t.Helper()
	dir := ""
	if m := place.FindStringSubmatch(code); m != nil {
		found++
		info, err := os.Stat(harness.Path(t, filepath.FromSlash(m[1])))
		if err != nil {
			return found, []string{m[1]}
		}
		if info.IsDir() {
			dir = m[1]
		}
	} else if strings.Contains(code, "go test ./tests ") {
		dir = "tests"
	}
	if m := runs.FindStringSubmatch(code); m != nil && dir != "" {
		decls := declared(t, dir)
		for pattern := range strings.SplitSeq(strings.ReplaceAll(m[1]+m[2], `\|`, "|"), "|") {
			found++
			if !anyTest(t, decls, pattern) {
				missing = append(missing, "test "+pattern+" in "+dir)
			}
		}
	}
	if m := member.FindStringSubmatch(code); m != nil {
		dir := "internal/" + m[1]
		if _, err := os.Stat(harness.Path(t, filepath.FromSlash(dir))); err != nil {
			dir = "tests/" + m[1]
		}
		if _, err := os.Stat(harness.Path(t, filepath.FromSlash(dir))); err == nil {
			found++
			if !declared(t, dir)[m[2]] {
				missing = append(missing, m[2]+" in "+dir)
			}
		}
	}
	return found, missing
}

func anyTest(t *testing.T, decls map[string]bool, pattern string) bool {
	t.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		t.Errorf("%q: %v", pattern, err)
		return false
	}
	for name := range decls {
		for _, kind := range []string{"Test", "Fuzz", "Benchmark"} {
			if strings.HasPrefix(name, kind) && re.MatchString(name) {
				return true
			}
		}
	}
	return false
}

// TestUnsafe: SECURITY.md names all files of the program that use unsafe, but generated ones, and no others.
func TestUnsafe(t *testing.T) {
	t.Parallel()
	var uses []string
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(harness.Path(t, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, i := range f.Imports {
				if i.Path.Value == `"unsafe"` {
					rel, err := filepath.Rel(harness.Path(t), path)
					if err != nil {
						return err
					}
					uses = append(uses, filepath.ToSlash(rel))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, line, _ := strings.Cut(read(t, "SECURITY.md").text, "`unsafe` only for ")
	line, _, _ = strings.Cut(line, "\n")
	var named []string
	for _, m := range place.FindAllStringSubmatch(strings.ReplaceAll(line, "`", " "), -1) {
		named = append(named, m[1])
	}
	if diff := cmp.Diff(uses, named); diff != "" {
		t.Errorf("files that use unsafe (-there +named):\n%s", diff)
	}
}

// declared gives the names that the Go files of a folder declare, tests included.
func declared(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(harness.Path(t, filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]bool)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				out[d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						out[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							out[n.Name] = true
						}
					}
				}
			}
		}
	}
	return out
}

// The test notices what has moved.
func TestMissingNames(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"internal/nowhere", "go test ./tests/docs -run 'Names|Nowhere'", "harness.Nowhere", "tests/docs/nowhere_test.go"} {
		if found, missing := missingIn(t, code); found == 0 || len(missing) != 1 {
			t.Errorf("%s: %d names, %q are missing", code, found, missing)
		}
	}
	for _, code := range []string{"internal/web -run 'Siege\\|Places'", "links.Links", "go test ./tests -run TestPicture", "A sentence."} {
		if _, missing := missingIn(t, code); len(missing) > 0 {
			t.Errorf("%s: %q are missing", code, missing)
		}
	}
}
