// Command latency measures what sharing a proxy adds to a batch of advertisements: the time from the end of the read
// that brought it from the real proxy to the end of the write that handed it to a host's socket, over real TCP on
// loopback, plain and with Noise on both sides. It prints one line of JSON.
//
// Proxy, session, sharing and hosts are in one process and share its processors, as a daemon's neighbours do in a small
// machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// result is the figures of one setting. Times are in microseconds, over all batches of all hosts.
type result struct {
	Hosts   int     `json:"hosts"`
	Noise   bool    `json:"noise"`
	Batches int     `json:"batches"` // that were sent to each host
	Lost    int     `json:"lost"`    // over all hosts
	Median  float64 `json:"median_us"`
	P99     float64 `json:"p99_us"`
	Max     float64 `json:"max_us"`
}

func main() {
	rate := flag.Float64("rate", 62.5, "batches a second")
	size := flag.Int("size", 16, "advertisements in a batch")
	duration := flag.Duration("duration", 10*time.Second, "how long to measure each setting")
	hosts := flag.String("hosts", "1,8", "numbers of hosts")
	flag.Parse()
	if err := run(*rate, *size, *duration, *hosts); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

func run(rate float64, size int, duration time.Duration, hosts string) error {
	if rate <= 0 || size < 1 || size > 16 || duration <= 0 {
		return errors.New("want a rate and a duration above 0, and 1 to 16 advertisements")
	}
	var results []result
	for _, text := range strings.Split(hosts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 64 {
			return fmt.Errorf("%q is no number of hosts from 1 to 64", text)
		}
		for _, noise := range []bool{false, true} {
			r, err := measure(context.Background(), setting{n, noise, size, max(1, int(rate*duration.Seconds())), time.Duration(float64(time.Second) / rate)})
			if err != nil {
				return fmt.Errorf("cannot measure %d hosts, Noise %v: %w", n, noise, err)
			}
			results = append(results, r)
		}
	}
	out, err := json.Marshal(map[string]any{
		"measure": "share-latency", "unit": "us", "adverts_per_batch": size, "batches_per_second": rate, "cpus": runtime.NumCPU(), "results": results,
	})
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}

// figures sorts times.
func (s setting) figures(times []time.Duration) result {
	slices.Sort(times)
	us := func(q float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[min(int(q*float64(len(times))), len(times)-1)].Nanoseconds()) / 1000
	}
	return result{Hosts: s.hosts, Noise: s.noise, Batches: s.batches, Lost: s.hosts*s.batches - len(times), Median: us(0.5), P99: us(0.99), Max: us(1)}
}
