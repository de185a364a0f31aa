package privatebus

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"bluez-esphome/internal/filelock"
)

// TempDir makes a folder for this process in the folder for temporary files, readable by this user alone. Its name
// begins with prefix. Folders of that prefix that a killed process of this user left are removed first. remove ends the
// use of the folder.
//
// A folder is locked while it is used; the kernel ends the lock with the process, however it ends.
func TempDir(prefix string) (dir string, remove func(), err error) {
	sweep(prefix)
	// A folder gets its name when it is locked: until then no other process's sweep can find it.
	made, err := os.MkdirTemp("", "."+prefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := lockDir(made)
	if err == nil {
		dir = filepath.Join(os.TempDir(), prefix+rand.Text()[:10])
		err = os.Rename(made, dir)
		if err != nil {
			filelock.Release(lock)
		}
	}
	if err != nil {
		_ = os.RemoveAll(made)
		return "", nil, err
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		filelock.Release(lock)
	}, nil
}

// sweep removes the folders that nobody uses any more.
func sweep(prefix string) {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return // of a pattern that the folder's name spoils
	}
	for _, dir := range left {
		if !ours(dir, 0o077) {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			filelock.Release(lock)
		}
	}
}

// lockDir locks a folder while the file is open; it fails if another process has locked it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := filelock.Try(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return f, nil
}
