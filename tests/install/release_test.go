package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// release makes the release for one architecture, with the given umask and environment.
func release(t *testing.T, arch string, umask string, env ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "release")
	c := exec.Command("sh", "-c", "umask "+umask+" && exec sh scripts/release.sh "+arch)
	c.Dir, c.Env = harness.Path(t), append(append(os.Environ(), "OUT="+dir, "VERSION=v1.2.3", "SOURCE_DATE_EPOCH=1700000000", compression()), env...)
	out, err := c.CombinedOutput()
	if err != nil && strings.Contains(string(out), "cyclonedx-gomod") && strings.Contains(string(out), "dial tcp") {
		t.Skip("the generator of the bill of materials cannot be downloaded here (run it with a network)")
	}
	if err != nil {
		t.Fatalf("release.sh: %v\n%s", err, out)
	}
	return dir
}

// TestRelease: a release is complete, and its checksums are right. By night, two releases of one commit are the same
// although time zone, language and umask differ; make release-check compares them as well.
func TestRelease(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("there is no dpkg-deb to build packages with (apt install dpkg)")
	}
	arch := debArch(t)
	one := release(t, arch, "022", "TZ=UTC", "LC_ALL=C")
	two := one
	if harness.Nightly() {
		two = release(t, arch, "077", "TZ=Pacific/Auckland", "LC_ALL=C.UTF-8")
	}
	base := "bluez-esphome_1.2.3_" + arch
	names := []string{base + ".deb", base + "_container.tar.gz", base + ".cdx.json", "SHA256SUMS"}
	if entries, err := os.ReadDir(one); err != nil || len(entries) != len(names) {
		t.Errorf("the release has %v (%v), want %q", entries, err, names)
	}
	files := map[string][]byte{}
	for _, name := range names {
		a, err := os.ReadFile(filepath.Join(one, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = a
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not the same in two releases of one commit", name)
		}
	}
	for _, name := range names[:3] {
		sum := sha256.Sum256(files[name])
		if line := hex.EncodeToString(sum[:]) + "  " + name + "\n"; !strings.Contains(string(files["SHA256SUMS"]), line) {
			t.Errorf("SHA256SUMS lacks %q:\n%s", line, files["SHA256SUMS"])
		}
	}
	checkBill(t, files[base+".cdx.json"])
	checkContainer(t, files[base+"_container.tar.gz"])
}

// checkBill checks that the software bill of materials names the parts of the program.
func checkBill(t *testing.T, text []byte) {
	t.Helper()
	var bill struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Timestamp string `json:"timestamp"`
			Component struct{ Name, Version string }
		} `json:"metadata"`
		Components []struct{ Name, Version, PURL string } `json:"components"`
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || bill.Metadata.Timestamp != "2023-11-14T22:13:20Z" || bill.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("the bill of materials is of %+v, %q", bill.Metadata, bill.BOMFormat)
	}
	found := map[string]bool{}
	for _, c := range bill.Components {
		found[c.Name] = c.Version != "" && c.PURL != ""
	}
	for _, want := range []string{"std", "github.com/godbus/dbus/v5", "google.golang.org/protobuf", "github.com/flynn/noise"} {
		if !found[want] {
			t.Errorf("the bill of materials lacks %s: %v", want, found)
		}
	}
}

// checkContainer checks that the files that docs/container.md uses are at the places that it names.
func checkContainer(t *testing.T, data []byte) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	modes, guide := map[string]int64{}, ""
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
		if path.Base(h.Name) == "container.md" {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			guide = string(b)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s is of %d:%d, %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
	}
	for name, mode := range map[string]int64{
		"bin/bluez-esphome": 0o755, "docs/container/Dockerfile": 0o644, "docs/container/compose.yaml": 0o644,
		"configs/bluez-esphome.yaml": 0o644, "docs/container.md": 0o644, "LICENSE": 0o644,
	} {
		if got := modes["bluez-esphome-1.2.3/"+name]; got != mode {
			t.Errorf("%s has mode %o, want %o", name, got, mode)
		}
	}
	links := docLink.FindAllStringSubmatch(guide, -1)
	for _, m := range links {
		if _, ok := modes["bluez-esphome-1.2.3/docs/"+m[1]]; !ok {
			t.Errorf("container.md links %s, which is not in the archive", m[1])
		}
	}
	if len(links) < 2 {
		t.Errorf("container.md has %d links", len(links))
	}
}
