package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Load is a running load.
type Load struct {
	spec    Spec
	proxies []*proxy
	ticks   uint32 // number of notifications that were sent
}

// Run serves until in ends. It reads commands from in, each a line of JSON, and writes the answers to out.
func Run(ctx context.Context, spec Spec, in io.Reader, out io.Writer) error {
	if spec.Proxies < 1 || spec.Devices < 1 || spec.Frame < 1 {
		return fmt.Errorf("cannot make the load: proxies, devices and frame have to be 1 or more")
	}
	l := &Load{spec: spec}
	var first Answer
	for n := range spec.Proxies {
		p, err := newProxy(ctx, &l.spec, n)
		if err != nil {
			return fmt.Errorf("cannot make a proxy: %w", err)
		}
		defer p.listener.Close()
		l.proxies = append(l.proxies, p)
		first.Addresses = append(first.Addresses, p.listener.Addr().String())
		go p.serve() // ends with the process
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(first); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("cannot read the command %q: %w", lines.Text(), err)
		}
		if err := enc.Encode(l.do(ctx, c)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// subscribeTimeout is how long all subscribers together may take to come.
const subscribeTimeout = time.Minute

func (l *Load) do(ctx context.Context, c Command) Answer {
	switch c.Do {
	case "wait":
		ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
		defer cancel()
		for _, p := range l.proxies {
			select {
			case p.to = <-p.subscribed:
			case <-ctx.Done():
				return Answer{Error: fmt.Sprintf("nobody subscribed to %s within %v", p.name, subscribeTimeout)}
			}
		}
		return Answer{}
	case "send":
		return l.send(c.Count, c.Rate)
	case "latency":
		return l.latency(ctx, c)
	case "notify":
		return l.notify(c.Count)
	}
	return Answer{Error: fmt.Sprintf("there is no command %q", c.Do)}
}
