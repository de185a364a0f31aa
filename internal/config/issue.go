package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Issue is one mistake.
type Issue struct {
	// File is the file as the user named it. Line counts from 1; it is 0 where the mistake has no place in the file.
	File string
	Line int
	// Key is the dotted path of the key ("proxies[0].address"), or an environment variable.
	Key string
	// What says what is wrong, without a final stop.
	What string
	// Remedy says what to write instead; it may be empty.
	Remedy string
}

// String gives FILE:LINE: KEY: WHAT; REMEDY.
func (i Issue) String() string {
	var b strings.Builder
	b.WriteString(i.File)
	if i.Line > 0 {
		fmt.Fprintf(&b, ":%d", i.Line)
	}
	b.WriteString(": ")
	if i.Key != "" {
		b.WriteString(i.Key + ": ")
	}
	b.WriteString(i.What)
	if i.Remedy != "" {
		b.WriteString("; " + i.Remedy)
	}
	return b.String()
}

// Error is every mistake of one file, in the order of lines.
type Error struct{ Issues []Issue }

// Error gives one line for each mistake.
func (e *Error) Error() string {
	lines := make([]string, len(e.Issues))
	for i, is := range e.Issues {
		lines[i] = is.String()
	}
	return strings.Join(lines, "\n")
}

// maxIssues bounds the output for a file that is something else altogether.
const maxIssues = 100

// reporter collects mistakes and knows where each key stands.
type reporter struct {
	file   string
	lines  map[string]int    // key → line; "" is the whole file
	env    map[string]string // key → environment variable that replaced it
	broken map[string]bool   // list entries and values that were reported as a whole
	meant  map[string]bool   // keys that an unknown key was probably meant to be, which is reported
	issues []Issue
}

// at reports a mistake in the value of key, unless that is broken.
func (r *reporter) at(key, remedy, format string, args ...any) {
	if r.broken[key] && r.env[key] == "" {
		return
	}
	is := Issue{File: r.file, Line: r.line(key), Key: key, What: fmt.Sprintf(format, args...), Remedy: remedy}
	if v := r.env[key]; v != "" {
		is.File, is.Line, is.Key = "environment", 0, v
	}
	r.add(is)
}

func (r *reporter) atLine(line int, key, remedy, format string, args ...any) {
	r.add(Issue{File: r.file, Line: line, Key: key, What: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (r *reporter) add(is Issue) {
	if len(r.issues) < maxIssues {
		r.issues = append(r.issues, is)
	}
}

// line gives the line of a key, or that of the nearest key around it.
func (r *reporter) line(key string) int {
	for key != "" {
		if n, ok := r.lines[key]; ok {
			return n
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return r.lines[""]
}

func (r *reporter) err() error {
	if len(r.issues) == 0 {
		return nil
	}
	slices.SortStableFunc(r.issues, func(a, b Issue) int { return a.Line - b.Line })
	return &Error{Issues: r.issues}
}

// where names the place of a key within a sentence.
func (r *reporter) where(key string) string {
	return fmt.Sprintf("%s:%d", filepath.Base(r.file), r.line(key))
}
