package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"strings"

	"github.com/google/renameio/v2"
)

const heading = `# make test on a busy machine

Written by "make test-stress": each row is one run of everything that "make test" does, with nothing taken from Go's cache of
results, beside two programs that only compute. A test that fails here and not elsewhere depends on how busy the machine is; it is
mended, and the runs begin anew at the new commit. A plus sign behind a commit means that files differed from it.

`

const tableHead = `| commit | begun (UTC) | machine | GOMAXPROCS | nice | minutes | passed | failed | skipped | failures |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
`

// row is one run.
type row struct {
	commit, date string
	settings
	result
}

// String is the row as it stands in the table.
func (r row) String() string {
	failures := "none"
	if len(r.Failures) > 0 {
		failures = strings.Join(r.Failures, "<br>")
	}
	return fmt.Sprintf("| %s | %s | %s | %d | %d | %.1f | %d | %d | %d | %s |\n", r.commit, r.date, machine(), r.procs, r.nice,
		r.Seconds/60, r.Passed, r.Failed, r.Skipped, strings.ReplaceAll(failures, "|", `\|`))
}

// machine says what the tests ran on.
func machine() string {
	name := "processors"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(b); m != nil {
			name = string(m[1])
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), strings.ReplaceAll(name, "|", " "))
}

// report is the page: its rows as they are written, and what stands below them.
type report struct {
	rows  []string
	after string
}

func load(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &report{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the report: %w", err)
	}
	_, table, found := strings.Cut(string(b), tableHead)
	if !found {
		return nil, fmt.Errorf("%s has no table of this form; move it away", path)
	}
	r := &report{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| ") && r.after == "" {
			r.rows = append(r.rows, line)
		} else {
			r.after += line
		}
	}
	return r, nil
}

// count is the number of runs of a commit.
func (r *report) count(commit string) (n int) {
	for _, line := range r.rows {
		if strings.HasPrefix(line, "| "+commit+" |") {
			n++
		}
	}
	return n
}

func (r *report) add(one row) { r.rows = append(r.rows, one.String()) }

func (r *report) save(path string) error {
	text := heading + tableHead + strings.Join(r.rows, "") + r.after
	if err := renameio.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}
