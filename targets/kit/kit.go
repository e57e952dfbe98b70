// Package kit is what lab targets share: their command line, serving,
// stopping, and the debug endpoints that recorders read. A target states its
// knobs and builds its handler; the kit does the rest.
//
// The command line of every lab target is
//
//	<target> -listen HOST:PORT -debug HOST:PORT -variant flawed|fixed [-set name=value]... [-beside TIME]
//
// A target accepts connections on -listen as soon as it is ready to serve
// them. SIGTERM or SIGINT stops it.
package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Service is a lab target.
type Service struct {
	// About says in one line what the service does; it heads the usage text.
	About string

	// Knobs maps each knob to its default. The default settles what kind of
	// value the knob takes, so that a bad value is refused before Build:
	//
	//	"2500ms"          a duration, not negative
	//	"16KiB"           a size, with the unit B, KiB, MiB or GiB
	//	"200"             a whole number, not negative
	//	"true"            true or false
	//	"sleep|io"        one of these words; the first is the default
	//	anything else     text
	Knobs map[string]string

	// Build makes the handler. Background work that it starts must end when
	// ctx does, which is after the last request.
	Build func(ctx context.Context, o Options) (http.Handler, error)

	// Listen may wrap the listener of -listen before it is served; nil leaves it as
	// it is. Closing what it returns closes l.
	Listen func(ctx context.Context, o Options, l net.Listener) (net.Listener, error)
}

// Exit codes of a lab target.
const (
	exitOK    = 0
	exitError = 1 // could not start or serve
	exitUsage = 2 // bad flags or knobs
)

// stopGrace is how long requests in flight may take to end once the target is
// told to stop. A healthy target needs its dependency's 2 to 3 s; a flawed one
// may need minutes, and is cut off.
const stopGrace = 4 * time.Second

// Run serves s as the command line says until SIGTERM or SIGINT, then exits
// with code 0. Bad flags or knobs exit with code 2, a target that cannot
// start with code 1. A second signal ends the process at once.
func Run(s Service) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, s, os.Args[1:], os.Stderr))
}

// run is Run without the process around it: it returns the exit code.
func run(ctx context.Context, s Service, args []string, stderr io.Writer) int {
	cfg, err := parse(s, args, stderr)
	if errors.Is(err, errHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitUsage
	}
	if err := serve(ctx, s, cfg, stderr); err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

// serve builds the handler and serves it until ctx ends.
func serve(ctx context.Context, s Service, cfg config, stderr io.Writer) error {
	enableProfiles()

	// Background work outlives the signal: requests in flight still need it.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	handler, err := s.Build(background, cfg.options)
	if err != nil {
		return fmt.Errorf("building the service: %w", err)
	}

	// net.Listen asks for a backlog of net.core.somaxconn, the kernel's limit,
	// so a ramp to 10,000 connections is not refused while Accept catches up.
	debug, err := listen(ctx, "-debug", cfg.debug)
	if err != nil {
		return err
	}
	defer debug.Close()
	main, err := listen(ctx, "-listen", cfg.listen)
	if err != nil {
		return err
	}
	defer main.Close()
	accepting := main
	if s.Listen != nil {
		if accepting, err = s.Listen(background, cfg.options, main); err != nil {
			return fmt.Errorf("listening: %w", err)
		}
	}

	failed := make(chan error, 2)
	var running sync.WaitGroup
	start := func(srv *http.Server, l net.Listener) {
		running.Add(1) // and not Go, which the oldest release that builds targets lacks
		go func() {
			defer running.Done()
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving on %s: %w", l.Addr(), err)
			}
		}()
	}
	debugServer := &http.Server{Handler: debugHandler()}
	mainServer := &http.Server{Handler: beside(handler, cfg.beside)}
	start(debugServer, debug)
	start(mainServer, accepting)
	fmt.Fprintf(stderr, "listening on %s, debug on %s, variant %s\n", main.Addr(), debug.Addr(), cfg.options.Variant)

	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	grace, cancelGrace := context.WithTimeout(background, stopGrace)
	defer cancelGrace()
	if mainServer.Shutdown(grace) != nil {
		mainServer.Close()
	}
	debugServer.Close()
	running.Wait()
	return err
}

func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: the port is in use: stop what holds it, or give another port (0 takes a free one)", flag, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// enableProfiles turns on the two profiles that are off by default.
func enableProfiles() {
	// Every contended unlock is recorded. One in n, the usual way, loses the
	// writer of an RWMutex: the runtime charges the waits of all readers that
	// it lets go to the first of them, one event a refresh, so that 10 s hold
	// perhaps ten. An event costs about 1 µs, and a target whose unlocks are
	// contended so often that this counts is sick.
	runtime.SetMutexProfileFraction(1)
	// Waits of 10 µs and more are all recorded, shorter ones in proportion:
	// the waits that make a request slow are whole, the many that do not are
	// nearly free.
	runtime.SetBlockProfileRate(int(10 * time.Microsecond))
}
