package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Runs are counted by commit, what people wrote below the table stays, and a broken page is not overwritten.
func TestPage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stress.md")
	write := func(commit string, res result) {
		t.Helper()
		r, err := load(path)
		if err != nil {
			t.Fatal(err)
		}
		r.add(row{commit: commit, date: "2026-01-02 03:04", settings: turn(r.count(commit)), result: res})
		if err := r.save(path); err != nil {
			t.Fatal(err)
		}
	}
	write("aaa", result{Passed: 3, Seconds: 90})
	write("aaa", result{Passed: 2, Failed: 1, Failures: []string{"tests/x TestA/b|c", "golden"}})
	write("aaaa", result{})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, "\nA remark.\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	write("aaa", result{})
	r, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.count("aaa"); n != 3 || r.count("aaaa") != 1 || r.count("b") != 0 {
		t.Errorf("%d runs of aaa", n)
	}
	b, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		"| 1 | 0 | 1.5 | 3 | 0 | 0 | none |\n", `| 2 | 5 | 0.0 | 2 | 1 | 0 | tests/x TestA/b\|c<br>golden |` + "\n", "| 8 | 0 |", "\n\nA remark.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(path); err == nil {
		t.Error("another page is taken for the report")
	}
}

// Six runs have each GOMAXPROCS at each priority.
func TestTurns(t *testing.T) {
	t.Parallel()
	seen := map[settings]bool{}
	for n := range 6 {
		seen[turn(n)] = true
	}
	if len(seen) != 6 {
		t.Errorf("%v", seen)
	}
}
