package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is one run's section of docs/evidence/soak.md.
func (s *soak) report(v verdict) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	kind := ""
	if s.race {
		kind = " with the race detector"
	}
	p("## %s%s\n", short(s.duration), kind)
	p("%s, commit %s, %s. %s. Seed %d. Warm-up %s.\n", s.started.UTC().Format("2006-01-02 15:04 UTC"), s.commit, runtime.Version(), machine(), s.seed, short(s.warm()))
	if v.ok() {
		p("**Passed.**\n")
	} else {
		p("**Failed:**\n")
		for _, f := range v.failures {
			p("* %s", strings.ReplaceAll(f, "\n", " "))
		}
		p("")
	}
	p("| measure | after the warm-up | growth until the end | allowed | |\n| --- | ---: | ---: | ---: | --- |")
	for _, f := range v.flat {
		word := "flat"
		if !f.judged {
			word = "not judged"
		} else if !f.ok() {
			word = "**grows**"
		}
		p("| %s | "+f.format+" | "+f.format+" | "+f.format+" | %s `%s` |", f.name, f.begin/f.unit, f.growth/f.unit, f.allowed/f.unit, word, spark(s.samples, f.of))
	}
	p("")
	s.fiveMinutes(p)
	p("\n| counted | |\n| --- | ---: |")
	for _, k := range slices.Sorted(maps.Keys(s.tally.counts)) {
		p("| %s | %d |", strings.ReplaceAll(k, "|", "/"), s.tally.counts[k])
	}
	for _, k := range []string{"notifications lost or out of order", "data races"} {
		if _, ok := s.tally.counts[k]; !ok {
			p("| %s | 0 |", k)
		}
	}
	e := s.ending
	p("\nWhen all had settled %d of %d links were up. The daemon ended %d ms after SIGTERM with status %d; %d connection slots and %d sessions of proxies were left.",
		e.links, held, e.took.Milliseconds(), e.status, e.taken, e.clients)
	return b.String()
}

// fiveMinutes is the table of medians.
func (s *soak) fiveMinutes(p func(string, ...any)) {
	step := max(5*time.Minute, s.duration/12)
	if s.duration < 20*time.Minute {
		step = s.duration / 5
	}
	p("Medians of each %s; a call is a Get of a property, links are those that clients hold:\n", short(step))
	p("| until | heap MiB | RSS MiB | goroutines | descriptors | objects | devices | state KiB | links | proxies | CPU %% | bus RSS MiB | call ms (worst) | read ms | notifications |")
	p("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	last := sample{}
	for from := time.Duration(0); from < s.duration; from += step {
		var in []sample
		for _, one := range s.samples {
			if one.At > from && one.At <= from+step+time.Second {
				in = append(in, one)
			}
		}
		if len(in) == 0 {
			continue
		}
		mid := func(of func(sample) float64) float64 { return median(values(in, of)) }
		end := in[len(in)-1]
		p("| %s | %.2f | %.1f | %.0f | %.0f | %.0f | %.0f | %.1f | %.0f | %.0f | %.1f | %.1f | %.2f (%.1f) | %.0f | %.0f |", short(from+step),
			mid(func(s sample) float64 { return s.Heap })/mib, mid(func(s sample) float64 { return s.RSS })/mib,
			mid(func(s sample) float64 { return s.Goroutines }), mid(func(s sample) float64 { return s.FDs }),
			mid(func(s sample) float64 { return s.Objects }), mid(func(s sample) float64 { return s.Devices }),
			mid(func(s sample) float64 { return s.State })/1024, mid(func(s sample) float64 { return s.Links }),
			mid(func(s sample) float64 { return s.Online }), 100*(end.CPU-last.CPU)/(end.At-last.At).Seconds(),
			mid(func(s sample) float64 { return s.BusRSS })/mib, mid(func(s sample) float64 { return s.Call }),
			maximum(values(in, func(s sample) float64 { return s.CallMax })),
			mid(func(s sample) float64 { return s.Read }), end.Notes-last.Notes)
		last = end
	}
}

// values are the measured ones.
func values(list []sample, of func(sample) float64) (out []float64) {
	for _, s := range list {
		if v := of(s); v != 0 {
			out = append(out, v)
		}
	}
	return out
}

// spark draws up to 30 medians, from 0 to the most.
func spark(samples []sample, of func(sample) float64) string {
	const columns = 30
	all := values(samples, of)
	top := maximum(all)
	if top == 0 {
		return ""
	}
	marks := []rune("▁▂▃▄▅▆▇█")
	n := min(columns, len(all))
	var out []rune
	for i := range n {
		v := median(all[i*len(all)/n : (i+1)*len(all)/n])
		out = append(out, marks[min(len(marks)-1, int(v/top*float64(len(marks))))])
	}
	return string(out)
}

func short(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// commitOf is the commit of a checkout.
func commitOf(root string) string {
	cmd := exec.Command("git", "describe", "--always", "--dirty")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

var modelName = regexp.MustCompile(`(?m)^model name\s*: (.*)$`)

func machine() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // elsewhere than on Linux nothing here works
	name := runtime.GOARCH
	if m := modelName.FindSubmatch(b); m != nil {
		name = string(m[1])
	}
	return fmt.Sprintf("%d cores of %s, shared with other work", runtime.NumCPU(), name)
}

// publish puts the section into docs/evidence/soak.md, in place of an earlier one of its kind.
func (s *soak) publish(section string) error {
	path := filepath.Join(s.root, "docs", "evidence", "soak.md")
	name := "long"
	if s.race {
		name = "race"
	}
	begin, end := fmt.Sprintf("<!-- %s: written by make soak -->\n", name), fmt.Sprintf("<!-- end of %s -->\n", name)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("cannot write %s: its mark %q is missing", path, strings.TrimSpace(begin))
	}
	return os.WriteFile(path, []byte(before+begin+section+"\n"+end+after), 0o644)
}
