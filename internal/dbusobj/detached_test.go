package dbusobj

import (
	"context"
	"errors"
	"testing"
)

// TestDetached: without a bus the loop runs what is posted, what is sent is dropped, and nothing waits.
func TestDetached(t *testing.T) {
	c := Detached(Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	sent := 0
	for range 1000 {
		if err := c.Do(ctx, func() { sent++ }); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RequestName(ctx, "org.bluez"); !errors.Is(err, ErrClosed) {
		t.Errorf("RequestName: %v", err)
	}
	if c.UniqueName() != "" || sent != 1000 {
		t.Errorf("name %q, %d run", c.UniqueName(), sent)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
