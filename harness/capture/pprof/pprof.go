// Package pprof records the profiler's view: the profiles that net/http/pprof
// of the target serves, as differences over the window, and the heap and the
// goroutines as they stand near its end.
package pprof

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/endpoint"
	"chokepoint/harness/clock"
)

const (
	// maxProfile bounds one profile as it is sent, in bytes. The largest seen,
	// the goroutines of a server at 10,000 connections, is under 1 MiB.
	maxProfile = 64 << 20
	// maxUnpacked bounds the same profile once unpacked, in bytes.
	maxUnpacked = 512 << 20
	// openTimeout bounds the opening of all connections together.
	openTimeout = 10 * time.Second
	// leadMost is how long before the end of the window the absolute profiles
	// are asked for, at most; a busy target takes a while to answer.
	leadMost = time.Second
)

// Config says what to record.
type Config struct {
	// Profiles are names out of All; empty means all of them.
	Profiles []string
	// Window is how long recording will last. The CPU profile covers its whole
	// seconds, at least one, since the target counts no finer.
	Window time.Duration
}

// All returns the profiles that can be recorded, which are also the names of
// the probes.
func All() []string { return []string{"cpu", "heap", "allocs", "goroutine", "mutex", "block"} }

// Recorder is a capture.Recorder of the pprof dimension.
type Recorder struct {
	cfg Config

	base    string
	fetches []*fetch
	takes   []*take
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards started, arrived and failed
	started bool
	arrived int
	failed  int
}

var _ capture.Recorder = (*Recorder)(nil)

// New makes a recorder; it does nothing before Prepare.
func New(cfg Config) *Recorder {
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = All()
	}
	return &Recorder{cfg: cfg}
}

// fetch is one profile that is asked for, over a connection of its own.
type fetch struct {
	path  string        // below the base, with its query
	delay time.Duration // after Start
	conn  *endpoint.Conn

	// What came of it; written by one goroutine and read after it has ended.
	window bundle.Window
	data   []byte
	err    error
}

// take is one artifact that is made of what was fetched: as it came, or what
// came at the end of the window less what came at its beginning.
type take struct {
	probe    string
	artifact string
	from, to *fetch // from is nil for a profile that is kept as it came
	shows    string // the sample type of a difference that a viewer shows first
}

// Dimension implements capture.Recorder.
func (r *Recorder) Dimension() string { return bundle.DimPprof }

// seconds is the length of the CPU profile.
func (r *Recorder) seconds() int { return max(1, int(r.cfg.Window/time.Second)) }

// plan lists what has to be asked for, and what is made of it.
func (r *Recorder) plan() (fetches []*fetch, takes []*take, err error) {
	late := r.cfg.Window - min(leadMost, r.cfg.Window/4)
	ask := func(path string, delay time.Duration) *fetch {
		f := &fetch{path: path, delay: delay}
		fetches = append(fetches, f)
		return f
	}
	keep := func(t take) { takes = append(takes, &t) }
	// A target can take the difference itself (?seconds=N). It would unpack, merge and
	// pack profiles for that, while it is being measured.
	// The runtime's figures of memory are those of the last collections, so that
	// the difference over a short window, or of a target that seldom collects,
	// says little. A collection is asked for at both ends instead; it costs the
	// target two cycles a window. A third in the middle tells memory that goes on
	// growing from memory that stopped.
	memory := sync.OnceValues(func() (before, after *fetch) {
		return ask("heap?gc=1", 0), ask("heap?gc=1", late)
	})
	for i, name := range r.cfg.Profiles {
		if slices.Contains(r.cfg.Profiles[:i], name) {
			continue
		}
		switch name {
		case "cpu":
			keep(take{probe: name, artifact: bundle.CPUProfile, to: ask(fmt.Sprintf("profile?seconds=%d", r.seconds()), 0)})
		case "heap":
			before, after := memory()
			keep(take{probe: name, artifact: bundle.HeapDeltaProfile, from: before, to: after, shows: "inuse_space"})
			keep(take{probe: name, artifact: bundle.HeapProfile, to: after})
			keep(take{probe: name, artifact: bundle.HeapLateProfile, from: ask("heap?gc=1", late/2), to: after, shows: "inuse_space"})
		case "allocs":
			before, after := memory()
			keep(take{probe: name, artifact: bundle.AllocsProfile, from: before, to: after, shows: "alloc_space"})
		case "goroutine":
			after := ask(name, late)
			keep(take{probe: name, artifact: bundle.GoroutineDeltaProfile, from: ask(name, 0), to: after})
			keep(take{probe: name, artifact: bundle.GoroutineProfile, to: after})
		case "mutex":
			keep(take{probe: name, artifact: bundle.MutexProfile, from: ask(name, 0), to: ask(name, r.cfg.Window)})
		case "block":
			keep(take{probe: name, artifact: bundle.BlockProfile, from: ask(name, 0), to: ask(name, r.cfg.Window)})
		default:
			return nil, nil, fmt.Errorf("unknown profile %q; known are %s", name, strings.Join(All(), ", "))
		}
	}
	return fetches, takes, nil
}

// Prepare opens one connection for each profile. The dimension is lost when
// there is no debug URL or nobody answers there.
func (r *Recorder) Prepare(ctx context.Context, s capture.Subject) error {
	if s.DebugURL == "" {
		return errors.New(endpoint.NoDebugURL)
	}
	r.base = strings.TrimSuffix(s.DebugURL, "/")
	fetches, takes, err := r.plan()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	r.fetches, r.takes = fetches, takes
	for _, f := range r.fetches {
		f.conn, err = endpoint.Open(ctx, r.base+"/cmdline")
		if err != nil {
			return fmt.Errorf("open the debug connections before the load: %w", err)
		}
	}
	return nil
}

// Start asks for all profiles at once. What was asked for ends with ctx.
func (r *Recorder) Start(ctx context.Context) error {
	ctx, r.cancel = context.WithCancel(ctx)
	r.mu.Lock()
	r.started = true
	r.mu.Unlock()
	for _, f := range r.fetches {
		r.running.Go(func() {
			f.run(ctx, r.base)
			r.mu.Lock()
			defer r.mu.Unlock()
			if f.err != nil {
				r.failed++
			} else {
				r.arrived++
			}
		})
	}
	return nil
}

// run asks for the profile and keeps what comes.
func (f *fetch) run(ctx context.Context, base string) {
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		f.err = errors.New("recording ended before it was asked for")
		return
	}
	f.window.StartNS = clock.MonoNS()
	resp, err := f.conn.Get(ctx, base+"/"+f.path)
	// The handler sends its header once the profile is taken, so that this is
	// the end of what the profile covers; sending the rest may take a while.
	f.window.EndNS = clock.MonoNS()
	if err != nil {
		f.err = late(ctx, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f.err = errors.New(endpoint.Refusal(resp))
		return
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxProfile+1))
	if err != nil {
		f.err = late(ctx, fmt.Errorf("the profile broke off after %d bytes: %w", len(data), err))
		return
	}
	if len(data) > maxProfile {
		f.err = fmt.Errorf("the profile is larger than %d MiB and was not kept", maxProfile>>20)
		return
	}
	f.data = data
}

// late tells a profile that recording gave up on from one that failed by itself.
func late(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the target had not sent it when recording ended: it is overloaded, or it hangs")
	}
	return err
}

// Stop waits for the profiles to arrive, and gives up on those that have not
// when ctx ends.
func (r *Recorder) Stop(ctx context.Context) error {
	done := make(chan struct{})
	go func() { r.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		r.cancel()
		<-done // at once: every request heeds its context
	}
	return nil
}

// Write checks each profile and puts the good ones into the bundle.
func (r *Recorder) Write(ctx context.Context, w *bundle.Writer) (bundle.Dimension, error) {
	d := bundle.Dimension{Name: r.Dimension()}
	for _, t := range r.takes {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		if len(d.Probes) == 0 || d.Probes[len(d.Probes)-1].Name != t.probe {
			d.Probes = append(d.Probes, bundle.Probe{Name: t.probe, Window: t.window()})
		}
		p := &d.Probes[len(d.Probes)-1]
		data, samples, err := t.profile()
		if err != nil {
			p.Reason = joinReasons(p.Reason, err.Error())
			continue
		}
		if err := w.WriteFile(t.artifact, data); err != nil {
			return d, err
		}
		if !p.Captured {
			// Of two artifacts the first captured one gives the window: the
			// difference, unless it was lost.
			p.Window = t.window()
		}
		p.Captured = true
		p.Artifacts = append(p.Artifacts, t.artifact)
		if samples == 0 {
			p.Reason = joinReasons(p.Reason, whyEmpty(t.artifact))
		}
	}
	summarise(&d)
	return d, nil
}

// window is what the artifact covers.
func (t *take) window() bundle.Window {
	if t.from == nil {
		return t.to.window
	}
	return bundle.Window{StartNS: t.from.window.EndNS, EndNS: t.to.window.EndNS}
}

// profile is the artifact, packed, and how many samples it holds.
func (t *take) profile() (data []byte, samples int, err error) {
	last, err := t.to.profile()
	if err != nil {
		return nil, 0, err
	}
	if t.from == nil {
		return t.to.data, len(last.Sample), nil
	}
	first, err := t.from.profile()
	if err != nil {
		return nil, 0, err
	}
	first.Scale(-1)
	delta, err := profile.Merge([]*profile.Profile{first, last})
	if err != nil {
		return nil, 0, fmt.Errorf("%s: the profiles at both ends of the window do not match: %w", t.to.path, err)
	}
	window := t.window()
	delta.TimeNanos, delta.DurationNanos = last.TimeNanos-int64(window.Duration()), int64(window.Duration())
	delta.DefaultSampleType = t.shows
	var packed bytes.Buffer
	if err := delta.Write(&packed); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", t.to.path, err)
	}
	return packed.Bytes(), len(delta.Sample), nil
}

// profile is what was fetched, checked.
func (f *fetch) profile() (*profile.Profile, error) {
	err := f.err
	var p *profile.Profile
	if err == nil {
		p, err = check(f.data, maxUnpacked)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return p, nil
}

// summarise says whether anything was captured, and if not, why. When one
// reason holds for all probes, it is said once.
func summarise(d *bundle.Dimension) {
	var reasons []string
	for _, p := range d.Probes {
		d.Captured = d.Captured || p.Captured
		reasons = append(reasons, p.Reason)
	}
	if d.Captured || len(reasons) == 0 {
		return
	}
	d.Reason = "no profile was captured; the first: " + reasons[0]
}

func joinReasons(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "; " + b
}

// whyEmpty says what a profile without samples may mean, "" where it is no news.
func whyEmpty(artifact string) string {
	switch artifact {
	case bundle.MutexProfile:
		return "no samples: nothing waited for a mutex, or the target does not call runtime.SetMutexProfileFraction"
	case bundle.BlockProfile:
		return "no samples: nothing blocked, or the target does not call runtime.SetBlockProfileRate"
	case bundle.CPUProfile:
		return "no samples: the target used next to no CPU"
	}
	return ""
}

// check refuses what is no profile in the packed form that go tool pprof
// writes, and parses what is. It unpacks at most atMost bytes.
func check(data []byte, atMost int64) (*profile.Profile, error) {
	packed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("what the target sent is no packed profile (%d bytes): %w", len(data), err)
	}
	raw, err := io.ReadAll(io.LimitReader(packed, atMost+1))
	if err != nil {
		return nil, fmt.Errorf("what the target sent cannot be unpacked (%d bytes): %w", len(data), err)
	}
	if int64(len(raw)) > atMost {
		return nil, fmt.Errorf("the profile unpacks to more than %d MiB and was not kept", atMost>>20)
	}
	p, err := profile.ParseUncompressed(raw)
	if err != nil {
		return nil, fmt.Errorf("what the target sent is no profile (%d bytes): %w", len(data), err)
	}
	if err := p.CheckValid(); err != nil {
		return nil, fmt.Errorf("the profile contradicts itself: %w", err)
	}
	return p, nil
}

// Status implements capture.Recorder.
func (r *Recorder) Status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		return "ready"
	}
	text := fmt.Sprintf("%d profiles arrived", r.arrived)
	if r.failed > 0 {
		text += fmt.Sprintf(", %d failed", r.failed)
	}
	return text
}

// Close gives up on what has not arrived and closes the connections.
func (r *Recorder) Close() error {
	if r.cancel != nil {
		r.cancel()
	}
	r.running.Wait() // at once: every request heeds its context
	for _, f := range r.fetches {
		if f.conn != nil {
			f.conn.Close()
		}
	}
	return nil
}
