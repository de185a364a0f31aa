package privatebus

import (
	"errors"
	"fmt"
	"io/fs"
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
// It is empty if there is neither: a temporary folder is made then.
func DefaultPath() string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, socket)
	}
	if dir := runtimeDir(); dir != "" {
		return userPath(dir)
	}
	return ""
}

// runtimeDir is $XDG_RUNTIME_DIR, which has to be this user's (XDG Base Directory Specification). After su or sudo it may
// be another one's, and counts for nothing.
func runtimeDir() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || !owned(info) {
		return ""
	}
	return dir
}

// pathVariable names the variable of the environment that decides on the path of a socket.
func pathVariable(path string) string {
	for _, name := range []string{"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"} {
		if dir := os.Getenv(name); dir != "" && strings.HasPrefix(path, dir+"/") {
			return name
		}
	}
	return "TMPDIR"
}

// userPath is the socket of a user with that runtime folder.
func userPath(runtime string) string { return filepath.Join(runtime, "bluez-esphome", socket) }

// Addresses lists where a private bus is as a rule: at DefaultPath, where that of another user is whose environment was
// kept (sudo -E), where this user's is though the environment was cleaned, and where the packaged unit has it.
func Addresses() []string {
	var out []string
	for _, p := range []string{DefaultPath(), userPath(os.Getenv("XDG_RUNTIME_DIR")), userPath(fmt.Sprintf("/run/user/%d", os.Getuid())), unitPath} {
		if filepath.IsAbs(p) && !slices.Contains(out, scheme+p) {
			out = append(out, scheme+p)
		}
	}
	return out
}

// DemoPath is where the demo has its socket if it can, so that it is the same after a restart:
// $XDG_RUNTIME_DIR/bluez-esphome-demo/bus, else bluez-esphome-demo-UID/bus in the folder for temporary files. The
// folder is made; it is the caller's alone. Empty: there is no such folder.
func DemoPath() string {
	const name = tempPrefix + "demo"
	var places []string
	if dir := runtimeDir(); dir != "" {
		places = append(places, filepath.Join(dir, name))
	}
	places = append(places, filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", name, os.Getuid())))
	for _, dir := range places {
		if err := os.Mkdir(dir, 0o700); (err == nil || errors.Is(err, fs.ErrExist)) && ours(dir, 0o077) {
			return filepath.Join(dir, socket)
		}
	}
	return ""
}

// ours reports whether dir is a folder of this user, no link, on which others have none of the rights that are given.
func ours(dir string, rights fs.FileMode) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && info.Mode()&rights == 0 && owned(info)
}

// owned reports whether a file is this user's.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// TemporaryAddresses lists the buses, at most 8, of demos and in temporary folders that Start made. Those of other
// users are none of our business.
func TemporaryAddresses() []string {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*", socket))
	if err != nil {
		return nil // of a pattern that the folder's name spoils
	}
	if dir := runtimeDir(); dir != "" {
		paths = slices.Concat([]string{filepath.Join(dir, tempPrefix+"demo", socket)}, paths)
	}
	var out []string
	for _, p := range paths {
		if len(out) < maxTemporary && ours(filepath.Dir(p), 0) {
			out = append(out, scheme+p)
		}
	}
	return out
}
