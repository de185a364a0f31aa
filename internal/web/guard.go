package web

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// csp allows the page to use what this listener serves and nothing else.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses every request that is no plain read of this host: methods other than GET and HEAD, and Host headers of
// other hosts, by which a page from elsewhere could read what this listener says (DNS rebinding).
func guard(next http.Handler, own func(host string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Content-Security-Policy", csp)
		h.Set("Cache-Control", "no-store")
		switch {
		case !own(r.Host):
			http.Error(w, "This listener does not serve the host that was asked for. Ask for it by its IP address, as localhost, or by the name in http.listen.", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "This listener is read-only.", http.StatusMethodNotAllowed)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownHosts reports whether a Host header means this listener. listen is HOST:PORT as it was configured, bound the
// address that it became. A listener on loopback is reached by the names of loopback only. On other addresses, every IP
// address is accepted, since an address cannot be rebound and may be that of a container's host, and so are the
// configured name and the name of the host.
func ownHosts(listen string, bound net.Addr) func(string) bool {
	names := map[string]bool{"localhost": true}
	add := func(name string) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if name != "" {
			names[name] = true
		}
	}
	if host, _, err := net.SplitHostPort(listen); err == nil {
		add(host)
	}
	loopback := false
	if a, ok := bound.(*net.TCPAddr); ok {
		loopback = a.IP.IsLoopback()
	}
	if host, err := os.Hostname(); err == nil && !loopback {
		short, _, _ := strings.Cut(host, ".")
		add(host)
		add(short)
		add(short + ".local")
	}
	return func(host string) bool {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if ip, err := netip.ParseAddr(host); err == nil {
			return ip.Unmap().IsLoopback() || !loopback
		}
		return names[strings.ToLower(strings.TrimSuffix(host, "."))]
	}
}
