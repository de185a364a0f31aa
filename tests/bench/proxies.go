package main

import (
	"context"
	"encoding/json"
	"fmt"

	"bluez-esphome/tests/bench/load"
)

// proxies is a running load.
type proxies struct {
	*process
	spec      load.Spec
	addresses []string
}

func (w *world) load(ctx context.Context, s load.Spec) (*proxies, error) {
	arg, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	// The load uses one thread, and leaves the other core to the program that is measured.
	p, err := spawn(ctx, []string{"GOMAXPROCS=1"}, w.self, "load", string(arg))
	if err != nil {
		return nil, err
	}
	l := &proxies{process: p, spec: s}
	a, err := l.answer(ctx)
	if err != nil {
		l.stop()
		return nil, err
	}
	l.addresses = a.Addresses
	return l, nil
}

func (l *proxies) answer(ctx context.Context) (a load.Answer, err error) {
	text, err := l.line(ctx)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("load: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("load: %s", a.Error)
	}
	return a, nil
}

func (l *proxies) do(ctx context.Context, c load.Command) (load.Answer, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return load.Answer{}, err
	}
	if err := l.say(string(b)); err != nil {
		return load.Answer{}, err
	}
	return l.answer(ctx)
}

// send sends count advertisements at a rate per second; 0 is as fast as they are read.
func (l *proxies) send(ctx context.Context, count int, rate float64) (load.Answer, error) {
	return l.do(ctx, load.Command{Do: "send", Count: count, Rate: rate})
}

// subscribed waits until every proxy has a subscriber.
func (l *proxies) subscribed(ctx context.Context) error {
	_, err := l.do(ctx, load.Command{Do: "wait"})
	return err
}

// everybody has every proxy send advertisements of every device at least n times.
func (l *proxies) everybody(ctx context.Context, n int) error {
	_, err := l.send(ctx, n*l.spec.Proxies*(l.spec.Devices+l.spec.Frame), 0)
	return err
}

// argument is the command-line argument that tells a process where the proxies are.
func (l *proxies) argument(first bool) string {
	b, err := json.Marshal(map[string]any{"addresses": l.addresses, "psk": l.spec.PSK, "first": first})
	if err != nil {
		panic(err) // cannot happen: all values are strings
	}
	return string(b)
}
