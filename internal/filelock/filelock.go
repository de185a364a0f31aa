// Package filelock locks files and folders that another process must not use at the same time.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrLocked says that another process holds the lock, or this process through another open file.
var ErrLocked = errors.New("it is locked")

// Try locks an open file or folder without waiting. The lock ends with Release, or with the process. The error is
// ErrLocked or that of flock(2), which fails on file systems without locks. Try does not close f.
func Try(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// Release ends the lock and closes f. Closing alone is not enough: the lock belongs to all copies of the descriptor,
// and a forked process has one until it calls exec (flock(2), fork(2)).
func Release(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
