package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"

	"bluez-esphome/internal/config"
)

// reloads counts what a daemon is told.
type reloads struct{ applied, failed int }

func (r *reloads) Reload(*config.Config) { r.applied++ }
func (r *reloads) ReloadFailed(error)    { r.failed++ }

// A SIGHUP that comes before the daemon is ready is not lost, and its file is read once it is.
func TestReloadWaitsUntilReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ready, hup := make(chan struct{}), make(chan os.Signal, 1)
		reads := 0
		load := func() (*config.Config, error) {
			if reads++; reads == 2 {
				return nil, errors.New("a mistake")
			}
			return &config.Config{}, nil
		}
		var got reloads
		go reload(ctx, ready, hup, load, &got)
		hup <- syscall.SIGHUP
		synctest.Wait()
		if reads != 0 {
			t.Error("the configuration was read before the daemon was ready")
		}
		close(ready)
		synctest.Wait()
		hup <- syscall.SIGHUP
		synctest.Wait()
		if want := (reloads{1, 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		cancel()
	})
}
