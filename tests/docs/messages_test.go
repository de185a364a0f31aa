package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// guides are the documents that quote messages.
var guides = []string{
	"README.md", "SECURITY.md", "docs/install.md", "docs/proxies.md", "docs/home-assistant.md", "docs/container.md", "docs/clients.md",
	"docs/troubleshooting.md", "docs/operations.md", "docs/glossary.md", "docs/quirks.md", "docs/controller.md", "docs/fleet.md", "docs/mqtt.md",
	"docs/capture.md", "docs/matter.md", "docs/simulate.md",
}

// notOurs are messages of other programs, each with the name of the program.
var notOurs = map[string]string{
	"Waiting to connect to bluetoothd...": "bluetoothctl",
	"connection refused":                  "the kernel",
	"no route to host":                    "the kernel",
	"address already in use":              "the kernel",
	"Report a vulnerability":              "GitHub",
	"Device or resource busy":             "the kernel",
	"no such file or directory":           "the kernel",
	"permission denied":                   "the kernel",
}

// messageColumns are the heads of table columns that hold messages, whatever they look like.
var messageColumns = []string{"message", "error", "what you see", "the log says"}

// TestMessages: each message that a guide quotes is in the program, word for word, so that a user who searches the
// guides for it finds it.
func TestMessages(t *testing.T) {
	t.Parallel()
	literals := append(programTexts(t), setupTexts(t)...)
	total := 0
	for _, name := range guides {
		for _, q := range quotedMessages(read(t, name).text) {
			for piece := range strings.SplitSeq(q, "…") {
				piece = strings.TrimSpace(piece)
				if _, other := notOurs[strings.TrimLeft(piece, ": ")]; other || len(piece) < 4 {
					continue
				}
				total++
				if !slices.ContainsFunc(literals, func(l literal) bool { return l.says(piece) }) {
					t.Errorf("%s quotes %q, which the program does not say", name, q)
				}
			}
		}
	}
	if total < 20 {
		t.Errorf("only %d messages found: do the guides look different now?", total)
	}
	t.Logf("%d messages", total)
}

// plainWords look like a message but are commands, settings, paths or symbols.
var plainWords = regexp.MustCompile(`^[a-z0-9.-]+$|^[A-Z_]+$|[/{}=<>()\[\]]|^--|^[a-z_]+: ?[a-z0-9."_]*$|^[A-Z][A-Za-z0-9]+\.`)

// quotedMessages are the code spans of a text that stand in a column of messages, or look like a message: three words
// or more that are neither command nor setting.
func quotedMessages(text string) (out []string) {
	var head []string // of the table that a line is in
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = nil
			for _, m := range span.FindAllStringSubmatch(line, -1) {
				if words := strings.Fields(m[1]); len(words) >= 3 && !plainWords.MatchString(m[1]) && !slices.Contains(programs, words[0]) {
					out = append(out, m[1])
				}
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if head == nil {
			head = cells
			continue
		}
		for i, cell := range cells {
			if i >= len(head) || !slices.Contains(messageColumns, strings.TrimSpace(head[i])) {
				continue
			}
			for _, m := range span.FindAllStringSubmatch(cell, -1) {
				if plainWords.MatchString(m[1]) && !strings.Contains(m[1], " ") {
					continue // a word, as auth-failed is
				}
				out = append(out, strings.TrimPrefix(m[1], "FILE:LINE: "))
			}
		}
	}
	return out
}

// A literal is a string of the program, split where values are filled in: any text may stand between two parts.
type literal []string

var verb = regexp.MustCompile(`%[+#]?[-0-9.]*[a-zA-Z]`)

// setup is the script that a user runs beside the program.
const setup = "scripts/deb/bluez-esphome-setup"

// setupTexts are the texts in double quotes of that script.
func setupTexts(t *testing.T) (out []literal) {
	t.Helper()
	b, err := os.ReadFile(harness.Path(t, filepath.FromSlash(setup)))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"([^"]{4,})"`).FindAllStringSubmatch(string(b), -1) {
		out = append(out, literal(regexp.MustCompile(`\$\w+|\$\([^)]*\)`).Split(m[1], -1)))
	}
	return out
}

// programTexts are all strings of the program, tests aside.
func programTexts(t *testing.T) (out []literal) {
	t.Helper()
	for _, folder := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(harness.Path(t, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil && len(text) > 3 {
						out = append(out, literal(verb.Split(text, -1)))
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// says reports whether a quote is a piece of what the literal becomes. At least two thirds of the quote have to be the
// literal's own letters: the rest may be what was filled in.
func (l literal) says(quote string) bool {
	const share = 2.0 / 3
	for first := range l {
		if own, ok := l.from(first, quote); ok && float64(own) >= share*float64(len(quote)) {
			return true
		}
	}
	return false
}

// from fits a quote to the literal from that part on: it may begin anywhere in the part and end anywhere in a later
// one. own counts the bytes that are the literal's.
func (l literal) from(first int, quote string) (own int, ok bool) {
	if strings.Contains(l[first], quote) {
		return len(quote), true
	}
	// The longest end of the part with which the quote begins.
	for n := min(len(l[first]), len(quote)); n > 0; n-- {
		if !strings.HasSuffix(l[first], quote[:n]) {
			continue
		}
		own, rest := n, quote[n:]
		for _, part := range l[first+1:] {
			if part == "" {
				continue
			}
			if at := strings.Index(rest, part); at >= 0 {
				own, rest = own+len(part), rest[at+len(part):]
				continue
			}
			for k := min(len(part), len(rest)); k > 0; k-- { // the quote ends within this part
				if strings.HasSuffix(rest, part[:k]) {
					return own + k, true
				}
			}
			return own, true // or within what was filled in before it
		}
		return own, true
	}
	return 0, false
}

func TestSays(t *testing.T) {
	t.Parallel()
	l := literal(verb.Split("cannot own name %s: it is taken by %s (process %d)", -1))
	for quote, want := range map[string]bool{
		"cannot own name": true, "cannot own name org.bluez: it is taken": true, "it is taken by": true,
		"cannot own name org.bluez: it is taken by bluetoothd (process 12)": true,
		"cannot have the name": false, "cannot own name org.bluez: somebody else has it, which is bad": false, "own the name": false,
	} {
		if got := l.says(quote); got != want {
			t.Errorf("says(%q) is %v, want %v", quote, got, want)
		}
	}
}
