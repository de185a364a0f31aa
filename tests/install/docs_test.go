package install

import (
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// docFolder is the folder of the package's documents.
const docFolder = "/usr/share/doc/bluez-esphome/"

var docLink = regexp.MustCompile(`\]\(([^)]*)\)`)

// checkDocuments checks that the package has the guides, and that every link in them leads to something.
func checkDocuments(t *testing.T, p *pack) {
	documents, links := 0, 0
	for name := range p.files {
		if !strings.HasPrefix(name, docFolder) || !strings.HasSuffix(name, ".md") {
			continue
		}
		documents++
		for _, m := range docLink.FindAllStringSubmatch(p.text(t, name), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			links++
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(name), target)
			}
			if _, ok := p.files[target]; !ok {
				t.Errorf("%s links %s, which is not in the package", name, m[1])
			}
		}
	}
	if documents < 7 || links < 15 {
		t.Errorf("only %d documents with %d links found", documents, links)
	}
	for _, name := range []string{"README.md", "SECURITY.md", "container.md", "container/compose.yaml", "troubleshooting.md", "page-light.png"} {
		if _, ok := p.files[docFolder+name]; !ok {
			t.Errorf("the package has no %s", docFolder+name)
		}
	}
}

// manualWidth is the width of a terminal; man leaves two columns of it empty.
const manualWidth = 80

// checkWidth checks that the manual pages fit a terminal, and that they say where to report bugs.
func checkWidth(t *testing.T, p *pack) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed (apt install groff)")
	}
	for _, name := range []string{"man1/bluez-esphome.1", "man5/bluez-esphome.yaml.5", "man8/bluez-esphome-setup.8"} {
		c := exec.Command("groff", "-man", "-Tutf8", "-rLL=78n", "-P-c", "-P-b", "-P-o", "-P-u")
		c.Stdin = strings.NewReader(p.text(t, "/usr/share/man/"+name+".gz"))
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > manualWidth {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		if !regexp.MustCompile(`(?m)^BUGS\n(.*\n)*?.*Report bugs (to|at) \S`).Match(out) {
			t.Errorf("%s does not say where to report bugs", name)
		}
	}
}

// TestPublisher: maintainer and homepage are set in one place.
func TestPublisher(t *testing.T) {
	t.Parallel()
	p := build(t, "MAINTAINER=Jo Doe <jo@example.org>", "HOMEPAGE=https://example.org/be")
	control := string(run(t, nil, "dpkg-deb", "--field", p.path))
	for _, want := range []string{"\nMaintainer: Jo Doe <jo@example.org>\n", "\nHomepage: https://example.org/be\n"} {
		if !strings.Contains(control, want) {
			t.Errorf("control lacks %q:\n%s", want, control)
		}
	}
	if log := p.text(t, docFolder+"changelog.gz"); !strings.Contains(log, "\n -- Jo Doe <jo@example.org>  ") || !strings.Contains(log, "\n  * ") {
		t.Errorf("changelog:\n%.300s", log)
	}
	for name := range p.files {
		if strings.HasPrefix(name, "/usr/share/man/") && !strings.Contains(p.text(t, name), "Report bugs at https://example.org/be/issues.\n") {
			t.Errorf("%s does not name the homepage", name)
		}
	}
}
