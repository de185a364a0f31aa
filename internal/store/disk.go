package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bluez-esphome/internal/ble"
	"bluez-esphome/internal/filelock"

	"github.com/google/renameio/v2"
)

const (
	stateFile = "state.json"
	lockFile  = "lock"

	// delay is how long changes are gathered before they are written: a crash loses that much.
	delay = 500 * time.Millisecond
	// maxDelay is how long while changes keep coming: a client that sets something in a loop must not wear the disk out.
	maxDelay = 8 * time.Second
	// retryAfter is how soon a disk that could not be written is tried again.
	retryAfter = 30 * time.Second
)

// takeLock keeps a second process from overwriting this one's files.
func (s *Store) takeLock() error {
	path := filepath.Join(s.dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		s.failed(err)
		return nil
	}
	if err := filelock.Try(f); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		_ = f.Close()
		if errors.Is(err, filelock.ErrLocked) {
			return fmt.Errorf("cannot open state directory %s: process %s has it open, which may be another bluez-esphome: stop it (bluez-esphome status shows what it does), or give each daemon a state_dir of its own",
				s.dir, strings.TrimSpace(string(pid)))
		}
		s.log.Warn("Cannot lock state directory", "err", err) // file systems without locks
		return nil
	}
	s.lock = f
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return nil
}

func (s *Store) unlock() {
	if s.lock != nil {
		filelock.Release(s.lock)
		s.lock = nil
	}
}

// read reads a file of at most limit bytes. Which file it was is nil if it cannot be opened.
func (s *Store) read(name string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // no waiting for a pipe's writer
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	which, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, which, err
}

// damaged sets a file aside and says so; writeMu is held, or the Store is not shared yet.
func (s *Store) damaged(name string, cause error) {
	s.aside[name] = true
	kept, err := s.setAside(name)
	if err != nil {
		s.log.Error("State file is damaged and cannot be set aside; it stays, and what it kept is missing", "file", name, "err", cause, "rename", err)
		return
	}
	s.log.Error("State file is damaged; it was set aside and what it kept is missing", "file", name, "err", cause, "kept", kept)
}

// setAside renames a damaged file, so that nothing overwrites it.
func (s *Store) setAside(name string) (string, error) {
	if !s.aside[name] {
		return "", nil
	}
	kept := name + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.dir, kept))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	delete(s.aside, name)
	return kept, nil
}

// writer writes what became dirty, until Close.
func (s *Store) writer() {
	defer close(s.done)
	gather := delay
	var last time.Time // when something was written
	for {
		select {
		case <-s.stop:
			return
		case <-s.poke:
		}
		if time.Since(last) < gather {
			gather = min(2*gather, maxDelay)
		} else {
			gather = delay
		}
		wait := gather
		for wait > 0 {
			select {
			case <-s.stop:
				return
			case <-time.After(wait):
			}
			wait, last = 0, time.Now()
			if s.Flush() != nil {
				wait = retryAfter
			}
		}
	}
}

// Flush writes all changes now. What could not be written stays in memory and is tried
// again later.
func (s *Store) Flush() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	s.setBrokenAside()
	err := cmp.Or(s.flushState(), s.flushGatt())
	if err != nil {
		s.failed(err)
	} else if s.failing {
		s.failing = false
		s.log.Info("State is written again")
	}
	return err
}

// failed reports that state is not kept, once until it is written again.
func (s *Store) failed(err error) {
	if !s.failing {
		s.failing = true
		s.log.Error("Cannot write state; changes are kept in memory only until the disk can be written", "err", err, "do", remedy(err))
	}
}

// remedy says what to do about a disk that cannot be written.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return "free space on the disk of the directory"
	case errors.Is(err, syscall.EROFS):
		return "mount it writable, or set state_dir to a directory that is"
	case errors.Is(err, fs.ErrPermission):
		return "give the directory to the user that the daemon runs as, or set state_dir to one of its own"
	}
	return "check the disk, or set state_dir to a directory elsewhere"
}

func (s *Store) flushState() error {
	s.mu.Lock()
	if !s.dirty {
		s.mu.Unlock()
		return nil
	}
	s.dirty = false
	st := s.st.clone()
	s.mu.Unlock()
	err := s.writeJSON(stateFile, st)
	if err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
	return err
}

func (s *Store) flushGatt() error {
	s.mu.Lock()
	todo := make(map[ble.Address]GattState, len(s.gattDirty))
	for a := range s.gattDirty {
		todo[a] = s.gatt[a]
	}
	clear(s.gattDirty)
	s.mu.Unlock()
	var first error // one is enough to report: they have one cause
	for a, g := range todo {
		var err error
		if g.zero() {
			err = s.remove(gattName(a))
		} else {
			err = s.writeJSON(gattName(a), gattFile{version, a, g})
		}
		s.mu.Lock()
		switch {
		case err != nil:
			s.gattDirty[a] = true
			first = cmp.Or(first, err)
		case g.zero() && s.gatt[a].zero():
			delete(s.gatt, a)
		}
		s.mu.Unlock()
	}
	return first
}

func (s *Store) remove(name string) error {
	err := os.Remove(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Store) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if _, err := s.setAside(name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// The temporary file lies beside the target: TMPDIR may be another file system.
	return renameio.WriteFile(path, append(b, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(path)), renameio.IgnoreUmask())
}

// Close writes all changes and lets go of the directory. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.stop)
	<-s.done
	err := s.Flush()
	s.unlock()
	return err
}
