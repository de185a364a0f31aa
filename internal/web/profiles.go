package web

import (
	"cmp"
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"time"
)

// The paths are those of net/http/pprof. That package is not used, since it adds 0.2 MB, most of it for differences
// between two profiles and for a page.
const (
	profilesPath   = "/debug/pprof/"
	maxProfileTime = 300 // seconds
)

// serveProfiles lists the profiles, or writes the one that the path names. debug=1 and debug=2 ask for text, gc=1 for a
// garbage collection before.
func serveProfiles(w http.ResponseWriter, r *http.Request) {
	debug, _ := strconv.Atoi(r.FormValue("debug"))
	name := r.URL.Path[len(profilesPath):]
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if name == "" {
		all := pprof.Profiles()
		slices.SortFunc(all, func(a, b *pprof.Profile) int { return cmp.Compare(a.Name(), b.Name()) })
		for _, p := range all {
			fmt.Fprintln(w, p.Name(), p.Count())
		}
		fmt.Fprint(w, "profile ?seconds=30\ntrace ?seconds=1\n")
		return
	}
	p := pprof.Lookup(name)
	if p == nil {
		http.Error(w, "there is no such profile; "+profilesPath+" lists them", http.StatusNotFound)
		return
	}
	if name == "heap" && r.FormValue("gc") == "1" {
		runtime.GC()
	}
	if debug == 0 {
		binary(w, name)
	}
	_ = p.WriteTo(w, debug)
}

// serveCPU writes a CPU profile of some seconds.
func serveCPU(w http.ResponseWriter, r *http.Request) {
	record(w, r, "profile", 30, func() (func(), error) { return pprof.StopCPUProfile, pprof.StartCPUProfile(w) })
}

// serveTrace writes an execution trace of some seconds.
func serveTrace(w http.ResponseWriter, r *http.Request) {
	record(w, r, "trace", 1, func() (func(), error) { return trace.Stop, trace.Start(w) })
}

// record writes a profile for as many seconds as the request asks for, or until the client leaves. It extends the time
// limit of the answer.
func record(w http.ResponseWriter, r *http.Request, name string, usual int, start func() (stop func(), err error)) {
	seconds := usual
	if text := r.FormValue("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxProfileTime {
			http.Error(w, fmt.Sprintf("seconds: want a whole number from 1 to %d", maxProfileTime), http.StatusBadRequest)
			return
		}
		seconds = n
	}
	long := time.Duration(seconds) * time.Second
	answer := http.NewResponseController(w)
	_ = answer.SetReadDeadline(time.Time{})
	_ = answer.SetWriteDeadline(time.Now().Add(long + writeTimeout))
	binary(w, name)
	stop, err := start()
	if err != nil { // another one is under way
		w.Header().Del("Content-Disposition")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer stop()
	select {
	case <-time.After(long):
	case <-r.Context().Done():
	}
}

func binary(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}
