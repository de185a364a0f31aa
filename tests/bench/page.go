package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"bluez-esphome/tests/bench/load"
)

const aboutPage = `The live page with 12 proxies that hear the same 300 devices, each once a second at each proxy; signal strengths vary
by 4 dB (standard deviation). A viewer is a program that reads the page's stream. The CPU that it adds is that of the daemon with one less that without,
measured in turns of 6 s; the page's main thread is measured by ` + "`go test ./tests/page -run TestWalk -v`" + `, with Chromium.`

const (
	pageProxies = 12
	pageDevices = 300
	pageRate    = pageProxies * pageDevices // advertisements a second
	pageTurns   = 8                         // turns with a viewer, and as many without one
	viewer      = "a viewer"
	noViewer    = "nobody looks"
	addedCPU    = "CPU that a viewer takes, % of a core"
	streamBytes = "bytes of the stream, a second"
)

func page(ctx context.Context, w *world, r *result) error {
	g := r.group("")
	for range w.rounds {
		if err := w.page(ctx, g); err != nil {
			return err
		}
	}
	g.atMost("added", addedCPU, " %", 0.5)
	g.atMost(viewer, streamBytes, "", 10_000)
	return nil
}

func (w *world) page(ctx context.Context, g *group) error {
	run, err := w.running(ctx, load.Spec{Proxies: pageProxies, Devices: pageDevices, Frame: 10, Mix: load.MixHome, ChangeEvery: 2}, settings{metrics: true})
	if err != nil {
		return err
	}
	defer run.stop()
	send := func(seconds int) error {
		_, err := run.send(ctx, w.scale(seconds*pageRate), pageRate)
		return err
	}
	var without, with cost
	var streamed int64
	for turn := range 2 * pageTurns {
		// Turns without a viewer and with one alternate as 0110 0110: the other load of the machine changes slowly, and
		// costs both the same.
		looked := turn%4 == 1 || turn%4 == 2
		var v *watcher
		total := &without
		if looked {
			if v, err = view(ctx, "http://"+run.daemon.http+"/events"); err != nil {
				return err
			}
			total = &with
		}
		c, bytes, err := func() (cost, int64, error) {
			if v != nil {
				defer v.stop()
			}
			if err := send(3); err != nil { // not measured: the first event of a viewer is a whole snapshot
				return cost{}, 0, err
			}
			before := v.count()
			c, err := w.measure(run.daemon, func() error { return send(6) })
			return c, v.count() - before, err
		}()
		if err != nil {
			return run.daemon.failed(err)
		}
		total.process += c.process
		total.wall += c.wall
		streamed += bytes
	}
	share := func(c cost) float64 { return 100 * c.process.Seconds() / c.wall.Seconds() }
	g.add(noViewer, ofACore, share(without))
	g.add(viewer, ofACore, share(with))
	g.add(viewer, streamBytes, max(1, float64(streamed)/with.wall.Seconds()))
	g.add("added", addedCPU, max(.001, share(with)-share(without)))
	return nil
}

// watcher reads the event stream of the page and counts its bytes.
type watcher struct {
	bytes atomic.Int64
	stop  func()
}

// count is the number of bytes so far; it is 0 for a nil watcher.
func (v *watcher) count() int64 {
	if v == nil {
		return 0
	}
	return v.bytes.Load()
}

func view(ctx context.Context, url string) (*watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
		_ = resp.Body.Close()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	v, done := &watcher{}, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := resp.Body.Read(buf)
			v.bytes.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	v.stop = func() {
		cancel()
		<-done
		_ = resp.Body.Close()
	}
	return v, nil
}
