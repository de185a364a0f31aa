package hci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"bluez-esphome/internal/lockorder"

	"golang.org/x/sys/unix"
)

// PTY is a pseudo terminal, as a serial line with a controller at its other end: for btattach and for programs that
// speak H4 on a UART. A symbolic link leads to it. Each host gets a terminal of its own, so that none reads what was
// meant for the one before.
type PTY struct {
	path string // of the link
	log  *slog.Logger

	mu     lockorder.Mutex[lockorder.Leaf]
	target string // of the link that we made
}

var _ Transport = (*PTY)(nil)

// NewPTY makes the Transport; path is absolute.
func NewPTY(path string, log *slog.Logger) *PTY { return &PTY{path: path, log: log} }

// Open implements Transport. A host has come when it has sent something, and leaves when nobody has the terminal open
// any more.
func (p *PTY) Open(ctx context.Context) (Conn, error) {
	for {
		f, name, err := openPTY()
		if err == nil {
			err = p.lead(name)
			if err != nil {
				_ = f.Close()
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot offer a controller on %s: %w", p.path, err)
		}
		p.log.Info("A controller waits for its host", "terminal", name)
		stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
		first := make([]byte, readSize)
		n, err := f.Read(first)
		if !stop() || err != nil {
			_ = f.Close()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if !errors.Is(err, syscall.EIO) { // that is one that only looked
				return nil, fmt.Errorf("cannot offer a controller on %s: %w", p.path, err)
			}
			continue
		}
		return &ptyConn{f, p.path, first[:n]}, nil
	}
}

// openPTY makes a pair of raw terminals and returns our end and the name of the other.
func openPTY() (*os.File, string, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", err
	}
	f := os.NewFile(uintptr(fd), "/dev/ptmx")
	name, err := preparePTY(fd)
	if err != nil {
		_ = f.Close()
		return nil, "", err
	}
	return f, name, nil
}

func preparePTY(fd int) (string, error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return "", fmt.Errorf("cannot name the terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", fmt.Errorf("cannot unlock the terminal: %w", err)
	}
	// On our end these are the settings of both: no echo, no line editing, eight bits.
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("cannot read the terminal's settings: %w", err)
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return "", fmt.Errorf("cannot make the terminal raw: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	if err := os.Chmod(name, 0o660); err != nil && !errors.Is(err, os.ErrPermission) {
		return "", err
	}
	return name, nil
}

// lead has the link lead to the terminal. A link that is there is replaced; anything else stays.
func (p *PTY) lead(name string) error {
	if info, err := os.Lstat(p.path); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return errors.New("something else is there that is no symbolic link: remove it, or choose another path")
	}
	tmp := filepath.Join(filepath.Dir(p.path), "."+filepath.Base(p.path)+".new")
	_ = os.Remove(tmp)
	if err := os.Symlink(name, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	p.mu.Lock()
	p.target = name
	p.mu.Unlock()
	return nil
}

// Close implements Transport: the link goes, if it is ours still.
func (p *PTY) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, err := os.Readlink(p.path); err != nil || t != p.target || p.target == "" {
		return nil
	}
	return os.Remove(p.path)
}

// ptyConn is our end.
type ptyConn struct {
	*os.File
	name  string
	first []byte // what Open read
}

func (c *ptyConn) Packets() bool { return false }
func (c *ptyConn) Name() string  { return c.name }

// Read says that the host left where the terminal says that nobody has its other end open any more.
func (c *ptyConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	n, err := c.File.Read(b)
	if errors.Is(err, syscall.EIO) {
		return n, errors.New("it closed the terminal")
	}
	return n, err
}
