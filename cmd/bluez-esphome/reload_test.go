package main

import (
	"context"
	"errors"
	"os"
	"strings"
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
			reads++
			if reads == 2 {
				return nil, errors.New("a mistake")
			}
			return &config.Config{}, nil
		}
		var got reloads
		var verdicts []error
		go reload(ctx, ready, hup, load, &got, func(err error) { verdicts = append(verdicts, err) })
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
		if len(verdicts) != 2 || verdicts[0] != nil || verdicts[1] == nil {
			t.Errorf("verdicts %v", verdicts)
		}
		cancel()
	})
}

// Who waits for a reload is told what the daemon says of it: nothing, its mistakes, or that it says nothing.
func TestReloadCommand(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		mute bool
		want string
	}{
		{name: "applied"},
		{name: "mistakes", err: errors.New("c.yaml:3: no"), want: "c.yaml:3: no"},
		{name: "silence", mute: true, want: "does not say"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", t.TempDir())
			reportVerdict(errors.New("of an earlier one"))
			kill := func(int, syscall.Signal) error {
				if !tc.mute {
					reportVerdict(tc.err)
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			if tc.mute {
				cancel()
			}
			defer cancel()
			err := askReload(ctx, os.Getpid(), kill)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if conf := new(configError); errors.As(err, &conf) != (tc.err != nil) {
				t.Errorf("%T is not what decides on the exit status", err)
			}
		})
	}
}
