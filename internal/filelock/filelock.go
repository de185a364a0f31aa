// Package filelock locks files and folders that another process must not use at the same time.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrLocked says that somebody holds the lock: another process, or this one through another open file.
var ErrLocked = errors.New("it is locked")

// Try locks an open file or folder, without waiting. The lock ends with Release, or with the process. The error is
// ErrLocked, or the system's: not every file system has locks. It does not close f.
func Try(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// Release ends the lock and closes f. To close alone is not enough: the lock belongs to all copies of the descriptor,
// and a process that is just being started has one until it runs its own program (flock(2), fork(2)).
func Release(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
