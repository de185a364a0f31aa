package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of what any client that reaches the listener may use.
const (
	maxConns      = 64
	maxAnswers    = 40 // answers under way at a time; the other connections are kept for health checks
	maxOfAddress  = 8  // connections of one address that is not this host's
	maxViewers    = 24 // viewers of the live page; the other answers are kept for scrapes
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 15 * time.Second
	idleTimeout   = time.Minute
	healthTimeout = 2 * time.Second
	closeTimeout  = 500 * time.Millisecond
	maxScrapes    = 4 // at a time
)

// Config is what a Server is made of. Source, Metrics and Logger must not be nil.
type Config struct {
	Listen string // HOST:PORT, port 0 for any
	// Listener is used instead of Listen if it is not nil; the Server closes it.
	Listener net.Listener
	Source   Source
	Metrics  *Metrics
	Logger   *slog.Logger
	Version  string // ours, shown on the page
	// Profiles adds /debug/pprof/, which shows much of the program's internals.
	Profiles bool
}

// Server is the listener.
type Server struct {
	cfg      Config
	listener *door
	hub      *hub
	http     *http.Server
}

// Listen binds the address; nothing is answered before Run. The caller runs or closes the Server.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	l, err := cfg.Listener, error(nil)
	if l == nil {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen for HTTP on %s: %w; choose another address or port for http.listen", cfg.Listen, err)
	}
	s := &Server{cfg: cfg, listener: newDoor(l, maxConns, maxOfAddress), hub: newHub(cfg.Source, cfg.Version)}
	// The Source has a registry of its own: the Metrics outlive this listener.
	source := prometheus.NewRegistry()
	source.MustRegister(sourceCollector{cfg.Source})
	s.http = &http.Server{
		Handler: s.listener.counted(
			guard(s.routes(prometheus.Gatherers{cfg.Metrics.registry, source}), ownHosts(cfg.Listen, l.Addr())), maxAnswers),
		ConnContext:       s.listener.remember,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// URL is the address of the page, with a host name that works on this machine.
func (s *Server) URL() string {
	a := s.listener.Addr().(*net.TCPAddr)
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "localhost"
	}
	return fmt.Sprintf("http://%s/", net.JoinHostPort(host, fmt.Sprint(a.Port)))
}

// Close releases the address of a Server that is not Run.
func (s *Server) Close() { _ = s.listener.Close() }

// Run answers until ctx ends, and then closes all connections.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	hubDone := make(chan struct{})
	go func() {
		defer close(hubDone)
		s.hub.run(ctx)
	}()
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	defer func() {
		cancel()
		<-hubDone
	}()
	select {
	case err := <-served:
		return fmt.Errorf("cannot serve HTTP: %w", err)
	case <-ctx.Done():
	}
	cancel() // ends the event streams
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer done()
	err := s.http.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-served
	return err
}

func (s *Server) routes(g prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: readTimeout, ErrorHandling: promhttp.ContinueOnError,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		answer(w, s.cfg.Source.Healthy(ctx))
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.cfg.Source.Ready()) })
	mux.HandleFunc("/events", s.hub.serve)
	mux.HandleFunc("/api/snapshot", s.hub.serveOnce)
	mux.HandleFunc("/api/device", s.hub.serveDevice)
	for path, file := range pageFiles {
		mux.HandleFunc(path, file.serve)
	}
	if s.cfg.Profiles {
		mux.HandleFunc(profilesPath, serveProfiles)
		mux.HandleFunc(profilesPath+"profile", serveCPU)
		mux.HandleFunc(profilesPath+"trace", serveTrace)
	}
	return mux
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, message(err.Error()))
		return
	}
	fmt.Fprintln(w, "ok")
}
