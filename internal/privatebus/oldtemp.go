package privatebus

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// oldAge is how old a folder of version 1.0.0 has to be to be removed: an hour is far longer than its start took.
const oldAge = time.Hour

// sweepOld removes what killed processes of version 1.0.0 left, which locked nothing: folders with a configuration,
// bluez-esphome-conf-NUMBER, which dbus-daemon has read by then, and those with a socket, bluez-esphome-NUMBER, if
// nobody listens there any more.
func sweepOld() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*[0-9]"))
	if err != nil {
		return // of a pattern that the folder's name spoils
	}
	for _, dir := range left {
		name := strings.TrimPrefix(filepath.Base(dir), tempPrefix)
		number, conf := strings.CutPrefix(name, "conf-")
		if strings.Trim(number, "0123456789") != "" || !ours(dir, 0o077) {
			continue
		}
		if info, err := os.Lstat(dir); err != nil || time.Since(info.ModTime()) < oldAge {
			continue
		}
		if conf || !listens(filepath.Join(dir, socket)) {
			_ = os.RemoveAll(dir)
		}
	}
}

// listens reports whether somebody accepts connections at a socket.
func listens(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
