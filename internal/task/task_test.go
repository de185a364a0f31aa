package task

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Tasks outlive the context that the group has to end with, until each is stopped, in the order that their owner
// chooses.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := NewGroup(ctx)
		var ended []string
		run := func(name string) func(context.Context) error {
			return func(ctx context.Context) error {
				<-ctx.Done()
				ended = append(ended, name)
				return ctx.Err()
			}
		}
		ready := make(chan struct{})
		first := g.Start(Task{Name: "first", Ready: ready, Run: func(ctx context.Context) error {
			close(ready)
			return run("first")(ctx)
		}})
		second := g.Start(Task{Name: "second", Run: run("second")})
		cancel()
		<-g.Done()
		synctest.Wait()
		if len(ended) != 0 {
			t.Errorf("%q ended unasked", ended)
		}
		second()
		first()
		if err := g.Wait(); err != nil || len(ended) != 2 || ended[0] != "second" {
			t.Errorf("%q, %v", ended, err)
		}
	})
}

// A task that fails ends the group, with its name.
func TestGroupFails(t *testing.T) {
	g := NewGroup(t.Context())
	broken := errors.New("broken")
	never := make(chan struct{})
	g.Start(Task{Name: "the pump", Ready: never, Run: func(context.Context) error { return broken }})
	<-g.Done()
	if err := g.Wait(); !errors.Is(err, broken) || err.Error() != "the pump: broken" {
		t.Error(err)
	}
}
