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

// A document is a text with its code taken apart.
type document struct {
	name     string // in the repository
	text     string
	commands []string // what to type, in order
	blocks   []block  // fenced
}

// block is a fenced block.
type block struct{ language, text string }

// programs are what a command begins with, where it stands among other words.
var programs = []string{
	"make", "bluez-esphome", "bin/bluez-esphome", "bluez-esphome-setup", "apt", "apt-get", "dpkg", "systemctl", "journalctl", "systemd-analyze",
	"bluetoothctl", "gdbus", "busctl", "sudo", "export", "go", "docker", "podman", "curl", "sh", "python3", "openssl",
	"kill", "pkill", "usermod", "esphome", "git", "tshark", "btmon", "btattach",
}

var span = regexp.MustCompile("`([^`\n]+)`")

// read reads a document. Commands are the lines of indented blocks and of those marked sh, lines that begin with "$ "
// in others, and code within a line that begins with a program and has arguments.
func read(t *testing.T, name string) document {
	t.Helper()
	b, err := os.ReadFile(harness.Path(t, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	d := document{name: name, text: string(b)}
	var fenced *block
	blank, indented := true, false
	for line := range strings.Lines(d.text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```") && fenced == nil:
			fenced = &block{language: strings.TrimPrefix(line, "```")}
		case strings.HasPrefix(line, "```"):
			d.blocks = append(d.blocks, *fenced)
			fenced = nil
		case fenced != nil:
			fenced.text += line + "\n"
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				d.commands = append(d.commands, command)
			} else if fenced.language == "sh" && line != "" {
				d.commands = append(d.commands, line)
			}
		case strings.HasPrefix(line, "    ") && (blank || indented):
			indented = true
			d.commands = append(d.commands, strings.TrimSpace(line))
		default:
			indented = false
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				if words := strings.Fields(m[1]); len(words) > 1 && slices.Contains(programs, words[0]) {
					d.commands = append(d.commands, m[1])
				}
			}
		}
		blank = strings.TrimSpace(line) == ""
	}
	if fenced != nil {
		t.Fatalf("%s: a fenced block does not end", name)
	}
	return d
}

// documents lists the documents at the top of the repository and all those in docs.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, folder := range []string{"", "docs", "docs/evidence", "docs/adr"} {
		paths, err := filepath.Glob(harness.Path(t, filepath.FromSlash(folder), "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			out = append(out, path.Join(folder, filepath.Base(p)))
		}
	}
	return out
}

// blockWith finds the block that contains a text.
func (d document) blockWith(t *testing.T, text string) string {
	t.Helper()
	for _, b := range d.blocks {
		if strings.Contains(b.text, text) {
			return b.text
		}
	}
	t.Fatalf("%s has no block with %q", d.name, text)
	return ""
}
