package docs

import (
	"os/exec"
	"strings"
	"testing"

	"bluez-esphome/tests/harness"
)

// TestKeysStayPrivate: what the README has people make in their checkout holds keys, and git add . takes neither it nor
// the copies that editors leave.
func TestKeysStayPrivate(t *testing.T) {
	t.Parallel()
	if err := exec.Command("git", "-C", harness.Path(t), "rev-parse").Run(); err != nil {
		t.Skip("this is no git repository, or git is not installed (git clone it)")
	}
	for name, want := range map[string]bool{
		"my.yaml": true, "my-home.yaml": true, "kitchen.key": true, "proxy.key": true, "keys/kitchen": true,
		"house.yaml": true, "secrets.yml": true, "my.yaml~": true, "my.yaml.bak": true, ".my.yaml.swp": true, "kitchen.key~": true,
		"configs/my.yaml": true, "configs/bluez-esphome.yaml.save": true, "configs/kitchen.key": true, "docs/container/config/bluez-esphome.yaml": true,
		"configs/bluez-esphome.yaml": false, "docs/container/compose.yaml": false, "internal/config/config.go": false,
	} {
		err := exec.Command("git", "-C", harness.Path(t), "check-ignore", "-q", "--no-index", name).Run()
		if ignored := err == nil; ignored != want {
			t.Errorf("%s is ignored by git: %v, want %v", name, ignored, want)
		}
	}
	if readme := read(t, "README.md").text; !strings.Contains(readme, "my.yaml") {
		t.Error("the README names the configuration otherwise now")
	}
}
