// Package task runs the long-lived parts of a program in one group, and stops them one by one, each after what depends
// on it.
package task

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// A Task is one long-running part of a program.
type Task struct {
	// Name is for messages.
	Name string
	// Run serves until ctx ends and returns once all its goroutines have ended: nil then, else why it cannot go on.
	Run func(ctx context.Context) error
	// Ready is closed once the task serves; nil: it does as soon as it is started.
	Ready <-chan struct{}
}

// A Group runs tasks, each until it is stopped.
type Group struct {
	group *errgroup.Group
	done  <-chan struct{}
	base  func() context.Context // never ends by itself
}

// NewGroup makes a Group that has to end when ctx does, see Done.
func NewGroup(ctx context.Context) *Group {
	g, gctx := errgroup.WithContext(ctx)
	return &Group{group: g, done: gctx.Done(), base: func() context.Context { return context.WithoutCancel(ctx) }}
}

// Done is closed when the context of the Group ended or a task failed: the tasks are to be stopped then.
func (g *Group) Done() <-chan struct{} { return g.done }

// Start starts a task, waits until it is ready, and gives what stops it and waits for its end.
func (g *Group) Start(t Task) (stop func()) {
	ctx, cancel := context.WithCancel(g.base())
	ended := make(chan struct{})
	g.group.Go(func() error {
		defer close(ended)
		err := t.Run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: %w", t.Name, err)
	})
	if t.Ready != nil {
		select {
		case <-t.Ready:
		case <-ended:
		}
	}
	return func() {
		cancel()
		<-ended
	}
}

// Wait returns when all tasks have ended, with the error of the first one that failed.
func (g *Group) Wait() error { return g.group.Wait() }
