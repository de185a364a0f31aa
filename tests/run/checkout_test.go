package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bluez-esphome/tests/harness"
)

// nobody is a user that owns nothing else.
const nobody = 65534

// A checkout is a small module with the Makefile and the scripts of this repository.
type checkout struct {
	t   *testing.T
	dir string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a checkout of another user (run it as root)")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed (apt install git)")
	}
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := &checkout{t, filepath.Join(t.TempDir(), "src")}
	if err := os.CopyFS(filepath.Join(c.dir, "scripts"), os.DirFS(filepath.Join(root, "scripts"))); err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Makefile": string(makefile), ".gitignore": "/bin/\n", "go.mod": "module small\n\ngo 1.26\n",
		"cmd/bluez-esphome/main.go": "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
	} {
		name = filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir := c.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // nobody has to come here
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "all"}, {"tag", "v9.8.7"}} {
		cmd := exec.Command("git", append([]string{"-C", c.dir, "-c", "user.name=n", "-c", "user.email=n@localhost"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null") // it may want signatures
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	c.give(c.dir, nobody)
	return c
}

// give makes a user the owner of a file, or of a folder and all that is in it.
func (c *checkout) give(path string, uid int) {
	c.t.Helper()
	err := filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, uid)
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// make runs a target as that user, with none of Go's settings that the user of this test has made.
func (c *checkout) make(uid uint32, target string) (string, error) {
	cmd := exec.Command("make", "-s", target)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GOENV=off", "GOFLAGS=", "GOTOOLCHAIN=local")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// In a checkout of another user, as a container is given one, git tells nothing unless it is told to, and go build asks it.
func TestAnotherUsersCheckout(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	if out, err := c.make(0, "build"); err != nil || out != "built bin/bluez-esphome 9.8.7\n" {
		t.Errorf("make build: %v\n%s", err, out)
	}
	// A worktree without the repository that it is of.
	git := filepath.Join(c.dir, ".git")
	if err := os.RemoveAll(git); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(git, []byte("gitdir: /nowhere/to/be/found\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := c.make(0, "build"); err != nil || out != "built bin/bluez-esphome unknown\n" {
		t.Errorf("make build without its repository: %v\n%s", err, out)
	}
}

// After sudo make, files that make writes are root's.
func TestAfterSudo(t *testing.T) {
	t.Parallel()
	for _, made := range []string{"bin/test", "tests/page/node/node_modules/installed", ".venv/bin"} {
		c := newCheckout(t)
		if err := os.MkdirAll(filepath.Join(c.dir, made), 0o755); err != nil {
			t.Fatal(err)
		}
		path := made[:strings.LastIndex(made, "/")]
		if strings.HasPrefix(made, "tests/") {
			c.give(filepath.Join(c.dir, "tests"), nobody)
			c.give(filepath.Join(c.dir, path), 0)
		}
		for _, target := range []string{"build", "run", "test"} {
			out, err := c.make(nobody, target)
			if lines := strings.Split(out, "\n"); err == nil || !strings.HasPrefix(out, "bluez-esphome: ") || !strings.Contains(lines[0], "; paste: sudo chown -R $(id -u) ") ||
				!strings.HasSuffix(lines[0], " "+path) {
				t.Errorf("make %s with %s of root: %v\n%s", target, path, err, out)
			}
		}
	}
	c := newCheckout(t)
	c.give(c.dir, 0)
	if out, err := c.make(nobody, "build"); err == nil || !strings.Contains(out, "you may not write in ") {
		t.Errorf("make build in a folder of root: %v\n%s", err, out)
	}
}
