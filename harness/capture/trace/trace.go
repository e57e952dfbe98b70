// Package trace records the scheduler's view: an execution trace of the
// target, fetched over its debug endpoint, bounded in time and in bytes.
package trace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	exptrace "golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/endpoint"
	"chokepoint/harness/clock"
)

const (
	// DefaultFor is how long the trace lasts where the scenario does not say.
	DefaultFor = 5 * time.Second
	// DefaultAtMost bounds the trace where the scenario does not say, in bytes.
	// A server at 10,000 connections makes 2 MB in 5 s; one that spins on epoll
	// made 63 MB, and reading that takes 3 s.
	DefaultAtMost = 64 << 20

	// openTimeout bounds the opening of the connection.
	openTimeout = 10 * time.Second
	// delayMost is how long after the start of the window the trace begins, at
	// most: a trace holds stack samples only while a CPU profile runs, and the
	// profile begins with the window.
	delayMost = time.Second
)

const probeName = "trace"

// Config says what to record.
type Config struct {
	For    time.Duration // length of the trace; 0: DefaultFor; cut to what fits into Window
	AtMost int64         // bytes; 0: DefaultAtMost
	Window time.Duration // how long recording will last
}

// Recorder is a capture.Recorder of the trace dimension.
type Recorder struct {
	cfg Config

	base   string
	conn   *endpoint.Conn
	file   *os.File // spool; removed by Close
	cancel context.CancelFunc
	done   chan struct{} // closed when the fetch has ended; nil before Start

	bytes atomic.Int64

	// What came of it; written by the fetch and read after done is closed.
	window bundle.Window
	cut    bool // past AtMost
	broken string
	err    error

	closing sync.Once
	closed  error
}

var _ capture.Recorder = (*Recorder)(nil)

// New makes a recorder; it does nothing before Prepare.
func New(cfg Config) *Recorder {
	if cfg.For <= 0 {
		cfg.For = DefaultFor
	}
	if cfg.AtMost <= 0 {
		cfg.AtMost = DefaultAtMost
	}
	return &Recorder{cfg: cfg}
}

// Dimension implements capture.Recorder.
func (r *Recorder) Dimension() string { return bundle.DimTrace }

// span says when after Start the trace begins and how long it lasts.
func (r *Recorder) span() (delay, length time.Duration) {
	delay = min(delayMost, r.cfg.Window/5)
	return delay, min(r.cfg.For, r.cfg.Window-delay)
}

// Prepare opens the connection and the file the trace is kept in until Write.
func (r *Recorder) Prepare(ctx context.Context, s capture.Subject) error {
	if s.DebugURL == "" {
		return errors.New(endpoint.NoDebugURL)
	}
	if r.cfg.Window <= 0 {
		return errors.New("the trace recorder was not told how long recording lasts")
	}
	r.base = strings.TrimSuffix(s.DebugURL, "/")
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var err error
	if r.conn, err = endpoint.Open(ctx, r.base+"/cmdline"); err != nil {
		return fmt.Errorf("open the debug connection before the load: %w", err)
	}
	r.file, err = os.CreateTemp("", "chokepoint-trace-*")
	if err != nil {
		return fmt.Errorf("make a file to keep the trace in: %w", err)
	}
	// The name goes at once, so that nothing is left behind however this ends.
	if err := os.Remove(r.file.Name()); err != nil {
		return fmt.Errorf("make a file to keep the trace in: %w", err)
	}
	return nil
}

// Start arranges for the trace to begin a moment later. It ends with ctx.
func (r *Recorder) Start(ctx context.Context) error {
	ctx, r.cancel = context.WithCancel(ctx)
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		r.err = r.fetch(ctx)
	}()
	return nil
}

func (r *Recorder) fetch(ctx context.Context) error {
	delay, length := r.span()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return errors.New("recording ended before the trace began")
	}
	r.window.StartNS = clock.MonoNS()
	defer func() { r.window.EndNS = clock.MonoNS() }()
	resp, err := r.conn.Get(ctx, fmt.Sprintf("%s/trace?seconds=%.3f", r.base, length.Seconds()))
	if err != nil {
		return r.late(ctx, err)
	}
	// Closing before the end closes the connection, and with it the handler
	// stops tracing.
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(endpoint.Refusal(resp))
	}
	return r.keep(ctx, resp.Body)
}

// keep copies the trace into the file, up to AtMost bytes.
func (r *Recorder) keep(ctx context.Context, body io.Reader) error {
	out := io.MultiWriter(r.file, counter{&r.bytes})
	_, err := io.Copy(out, io.LimitReader(body, r.cfg.AtMost))
	if err != nil {
		// What came before the break is still a trace up to there.
		r.broken = r.late(ctx, fmt.Errorf("the trace broke off: %w", err)).Error()
		return nil
	}
	var one [1]byte
	if n, _ := body.Read(one[:]); n > 0 {
		r.cut = true
	}
	return nil
}

func (r *Recorder) late(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the target had not sent all of the trace when recording ended: it is overloaded, or it hangs")
	}
	return err
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// Stop waits for the trace to end, and cuts it off when ctx ends.
func (r *Recorder) Stop(ctx context.Context) error {
	if r.done == nil {
		return nil
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		r.cancel()
		<-r.done // at once: the request heeds its context
	}
	return nil
}

// Write checks that the trace can be read and puts it into the bundle.
func (r *Recorder) Write(_ context.Context, w *bundle.Writer) (bundle.Dimension, error) {
	p := bundle.Probe{Name: probeName, Window: r.window}
	d := bundle.Dimension{Name: r.Dimension()}
	err := r.err
	if err == nil {
		err = r.check()
	}
	if r.cut {
		p.Lost = map[string]int64{"bytes_cut": 1}
	}
	if err != nil && r.cut {
		err = fmt.Errorf("the bound cut it off before the end of its first second, and nothing of it can be read: raise capture.trace.at_most above %.1f MiB (%w)", mib(r.cfg.AtMost), err)
	}
	if err != nil {
		p.Reason = strings.Join(nonEmpty(err.Error(), r.broken), "; ")
		d.Reason, d.Probes = p.Reason, []bundle.Probe{p}
		return d, nil
	}
	if err := r.copyTo(w); err != nil {
		return d, err
	}
	p.Captured, p.Artifacts, p.Reason = true, []string{bundle.TraceOut}, r.broken
	if r.cut {
		p.Reason = fmt.Sprintf("cut off at %.1f MiB after %.1f s by the bound of the scenario (capture.trace.at_most): what came later is not in it",
			mib(r.cfg.AtMost), r.window.Duration().Seconds())
	}
	d.Captured, d.Probes = true, []bundle.Probe{p}
	return d, nil
}

// check reads the beginning of the trace, whose first events are out only
// when its first generation, about a second, has been understood.
func (r *Recorder) check() error {
	size := r.bytes.Load()
	if size == 0 {
		return errors.New("the target sent an empty trace")
	}
	var head [16]byte
	if _, err := r.file.ReadAt(head[:], 0); err != nil || !bytes.HasPrefix(head[:], []byte("go 1.")) {
		return fmt.Errorf("what the target sent is no execution trace (%d bytes)", size)
	}
	reader, err := exptrace.NewReader(bufio.NewReaderSize(io.NewSectionReader(r.file, 0, size), 256<<10))
	if err != nil {
		return fmt.Errorf("the trace cannot be read (%d bytes): %w", size, err)
	}
	for {
		event, err := reader.ReadEvent()
		if err != nil {
			return fmt.Errorf("the trace holds no event that can be read (%d bytes): %w", size, err)
		}
		// Sync events are the reader's own; a trace without anything has them too.
		if event.Kind() != exptrace.EventSync {
			return nil
		}
	}
}

func (r *Recorder) copyTo(w *bundle.Writer) error {
	out, err := w.Create(bundle.TraceOut)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(r.file, 0, r.bytes.Load()))
	return errors.Join(err, out.Close())
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func nonEmpty(texts ...string) []string {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}

// Status implements capture.Recorder.
func (r *Recorder) Status() string {
	if n := r.bytes.Load(); n > 0 {
		return fmt.Sprintf("%.1f MiB", mib(n))
	}
	return "no bytes yet"
}

// Close cuts off a trace that still runs and releases what Prepare took.
func (r *Recorder) Close() error {
	r.closing.Do(func() {
		if r.cancel != nil {
			r.cancel()
			<-r.done // at once: the request heeds its context
		}
		if r.conn != nil {
			r.conn.Close()
		}
		if r.file != nil {
			r.closed = r.file.Close()
		}
	})
	return r.closed
}
