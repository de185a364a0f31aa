package dbusobj

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"bluez-esphome/internal/dbusobj/dbustest"
)

func TestNames(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ctx := context.Background()
	c, _ := dial(t, s.addr)
	defer c.Close()
	err := c.RequestName(ctx, testName)
	var taken *NameTakenError
	if !errors.As(err, &taken) {
		t.Fatalf("got %v", err)
	}
	if taken.Name != testName || taken.Owner != s.UniqueName() || taken.PID != uint32(os.Getpid()) || !contains(taken.Command, "dbusobj.test") {
		t.Errorf("got %+v", taken)
	}
	if !contains(err.Error(), fmt.Sprintf("pid %d: ", os.Getpid())) {
		t.Error(err)
	}
	if err := s.RequestName(ctx, testName); err != nil {
		t.Errorf("asking for one's own name: %v", err)
	}
	if err := s.ReleaseName(ctx, testName); err != nil {
		t.Error(err)
	}
	if err := c.RequestName(ctx, testName); err != nil {
		t.Errorf("the name is free: %v", err)
	}
	if err := c.RequestName(ctx, "no dots"); err == nil {
		t.Error("an invalid name was granted")
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	addr := dbustest.Start(t)
	ctx := context.Background()
	for _, tt := range []struct {
		name, addr string
		ok         bool
	}{
		{"path", addr, true},
		{"list", "unix:path=/nowhere;tcp:host=localhost,port=1;" + addr + ",guid=0123", true},
		{"escaped", "unix:path=" + escape(addr[len("unix:path="):]), true},
		{"nothing", "", false},
		{"other transport", "tcp:host=localhost", false},
		{"no key", "unix:", false},
		{"both", "unix:path=/a,abstract=b", false},
		{"nobody there", "unix:abstract=bluez-esphome-nobody", false},
		{"bad escape", "unix:path=%zz", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Dial(ctx, Config{Address: tt.addr})
			if (err == nil) != tt.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				if c.UniqueName() == "" {
					t.Error("no unique name")
				}
				c.Close()
				c.Close()
				if err := c.RequestName(ctx, testName); !errors.Is(err, ErrClosed) {
					t.Errorf("got %v", err)
				}
				if err := c.Do(ctx, func() {}); !errors.Is(err, ErrClosed) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	t.Run("silent server", func(t *testing.T) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, Config{Address: "unix:path=" + l.Addr().String()}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("abstract", func(t *testing.T) {
		name := fmt.Sprintf("@bluez-esphome-test-%d", os.Getpid())
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Read(make([]byte, 100))
				_, _ = c.Write([]byte("REJECTED EXTERNAL\r\n"))
				c.Close()
			}
		}()
		_, err = Dial(ctx, Config{Address: "unix:abstract=" + name[1:]})
		if err == nil || !contains(err.Error(), "REJECTED") {
			t.Errorf("got %v", err)
		}
	})
}

func escape(s string) (out string) {
	for i := range len(s) {
		out += fmt.Sprintf("%%%02x", s[i])
	}
	return out
}
