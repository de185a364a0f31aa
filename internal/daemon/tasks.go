package daemon

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// A task is one long-running part of the daemon.
type task struct {
	name string
	// run serves until ctx ends and returns once all its goroutines have ended: nil then, else why it cannot go on.
	run func(ctx context.Context) error
	// ready is closed once the task serves; nil: it does as soon as it is started.
	ready <-chan struct{}
}

// tasks runs tasks in one group, each until it is stopped.
type tasks struct {
	group *errgroup.Group
	ctx   context.Context // ends when a task failed
}

func newTasks(ctx context.Context) *tasks {
	g, ctx := errgroup.WithContext(ctx)
	return &tasks{g, ctx}
}

// start starts a task, waits until it is ready, and gives what stops it and waits for its end.
func (t *tasks) start(k task) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	done := make(chan struct{})
	t.group.Go(func() error {
		defer close(done)
		err := k.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	if k.ready != nil {
		select {
		case <-k.ready:
		case <-done:
		}
	}
	return func() {
		cancel()
		<-done
	}
}
