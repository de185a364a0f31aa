package privatebus

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	scheme = "unix:path="
	socket = "bus" // the socket's name in its folder
	// unitPath is where bluez-esphome-private.service has the socket.
	unitPath = "/run/bluez-esphome/" + socket
	// tempPrefix begins the names of the folders that Start makes in the folder for temporary files.
	tempPrefix = "bluez-esphome-"
	// maxTemporary bounds how many temporary buses are named: anybody can make such folders.
	maxTemporary = 8
)

// DefaultPath is where the socket is: $RUNTIME_DIRECTORY/bus, else $XDG_RUNTIME_DIR/bluez-esphome/bus.
// It is empty if neither is set: a temporary folder is made then.
func DefaultPath() string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, socket)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return userPath(dir)
	}
	return ""
}

// userPath is the socket of a user with that runtime folder.
func userPath(runtime string) string { return filepath.Join(runtime, "bluez-esphome", socket) }

// Addresses lists where a private bus is as a rule: at DefaultPath, where this user's is though the environment was cleaned, and
// where the packaged unit has it.
func Addresses() []string {
	var out []string
	for _, p := range []string{DefaultPath(), userPath(fmt.Sprintf("/run/user/%d", os.Getuid())), unitPath} {
		if p != "" && !slices.Contains(out, scheme+p) {
			out = append(out, scheme+p)
		}
	}
	return out
}

// TemporaryAddresses lists the buses, at most 8, in temporary folders that Start made. Those of other users are none of our business.
func TemporaryAddresses() []string {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*", socket))
	if err != nil {
		return nil // of a pattern that the folder's name spoils
	}
	var out []string
	for _, p := range paths {
		dir, err := os.Lstat(filepath.Dir(p))
		if err != nil || !dir.IsDir() || len(out) >= maxTemporary {
			continue
		}
		if st, ok := dir.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Getuid() {
			out = append(out, scheme+p)
		}
	}
	return out
}
