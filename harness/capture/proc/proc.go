// Package proc records what /proc tells of the target, and the target's own
// runtime/metrics where it serves them: descriptors, threads, memory, CPU time,
// context switches and socket queues over time, beside the machine's idle time.
package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/capture"
	"chokepoint/harness/capture/endpoint"
	"chokepoint/harness/clock"
	"chokepoint/harness/procfs"
)

// The probes of the dimension.
const (
	ProbeProcess = "process" // /proc/PID and /proc/stat
	ProbeSockets = "sockets" // TCP states and queues, inside some process samples
	ProbeMetrics = "metrics" // the target's runtime/metrics
)

const (
	// processEvery and metricsEvery are the sampling periods.
	processEvery = 200 * time.Millisecond
	metricsEvery = time.Second
	// maxThreads is up to how many threads context switches are summed, for
	// each costs about 10 µs of kernel time a sample.
	maxThreads = 512
	// openTimeout bounds the opening of the metrics connection, answerTimeout
	// one reading over it.
	openTimeout   = 10 * time.Second
	answerTimeout = 5 * time.Second
	// maxMetrics bounds one answer, in bytes; runtime/metrics takes 10 KiB.
	maxMetrics = 1 << 20
	// maxSamples bounds what is kept of each kind: over an hour at 5 Hz.
	maxSamples = 20_000
)

// Config says what to record.
type Config struct {
	// Window is how long recording will last. Sockets are read after a tenth,
	// a half and three quarters of it, since at 10,000 connections a reading
	// takes tens of milliseconds, and more on a machine that is busy.
	Window time.Duration
}

// CPUsAllowed is how many CPUs the kernel lets process pid run on, by its
// affinity mask. A CPU quota of its control group is not counted.
func CPUsAllowed(pid int) (int, error) { return procfs.CPUsAllowed(pid) }

// CPUQuota is how many CPUs' worth of time the control groups of process pid
// grant it; 0 for no limit.
func CPUQuota(pid int) (float64, error) { return procfs.CPUQuota(pid) }

// EnvGOMAXPROCS is the number that GOMAXPROCS had in the environment that process
// pid was started with; 0 for none.
func EnvGOMAXPROCS(pid int) (int, error) { return procfs.EnvGOMAXPROCS(pid) }

// Recorder is a capture.Recorder of the proc dimension.
type Recorder struct {
	cfg     Config
	subject capture.Subject
	process procfs.Process
	born    int64 // start time of the process; tells a pid used again
	conn    *endpoint.Conn
	noConn  error

	gomaxprocs int
	cpus       *unix.CPUSet // that the target may run on

	stop    chan struct{}      // closed by Stop: one last sample and no more
	cancel  context.CancelFunc // no more, and give up what is under way; nil before Start
	running sync.WaitGroup
	window  bundle.Window

	mu          sync.Mutex // guards what follows
	samples     []bundle.ProcSample
	metrics     []bundle.MetricsSample
	processErr  error
	socketsErr  error
	socketsRead int
	metricsErr  error
	metricsMiss int64 // readings that failed
	skippedCS   int64 // samples whose context switches were carried over

	closing sync.Once
}

var _ capture.Recorder = (*Recorder)(nil)

// New makes a recorder; it does nothing before Prepare.
func New(cfg Config) *Recorder { return &Recorder{cfg: cfg} }

// Dimension implements capture.Recorder.
func (r *Recorder) Dimension() string { return bundle.DimProc }

// Prepare takes one reading of everything, so that what cannot be had is known
// before the load. The dimension is lost when nothing can.
func (r *Recorder) Prepare(ctx context.Context, s capture.Subject) error {
	r.subject = s
	if s.PID == 0 {
		r.processErr = errors.New("the target is a bare URL: give its pid to see its process")
	} else {
		r.process = procfs.Of(s.PID)
		r.processErr = r.firstReading()
	}
	if s.MetricsURL == "" {
		r.noConn = errors.New("the target has no metrics URL: serve runtime/metrics as JSON {\"name\": number} and give its address as the target's metrics, such as \"{debug}/debug/metrics\"")
	} else {
		r.conn, r.noConn = r.open(ctx)
	}
	if r.processErr != nil && r.noConn != nil {
		return fmt.Errorf("%w; %w", r.processErr, r.noConn)
	}
	return nil
}

func (r *Recorder) firstReading() error {
	st, err := r.process.Stat()
	if err != nil {
		return r.explain(err)
	}
	r.born = st.StartTicks
	if r.cpus, err = procfs.CPUs(r.subject.PID); err != nil {
		return r.explain(err)
	}
	var sample bundle.ProcSample
	return r.explain(r.read(&sample, nil))
}

// explain says what an error of /proc means for the target.
func (r *Recorder) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case procfs.Gone(err):
		return fmt.Errorf("process %d has ended", r.subject.PID)
	}
	return fmt.Errorf("read /proc of process %d: run as root or as the user it belongs to: %w", r.subject.PID, err)
}

func (r *Recorder) open(ctx context.Context) (*endpoint.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, err := endpoint.Open(ctx, r.subject.MetricsURL)
	if err != nil {
		return nil, fmt.Errorf("open the metrics connection before the load: %w", err)
	}
	values, err := readMetrics(ctx, conn, r.subject.MetricsURL)
	if err != nil {
		conn.Close()
		return nil, err
	}
	r.gomaxprocs = int(values["/sched/gomaxprocs:threads"])
	return conn, nil
}

// GOMAXPROCS is what the target's runtime/metrics said in Prepare; 0 when they
// did not say.
func (r *Recorder) GOMAXPROCS() int { return r.gomaxprocs }

// Start begins to take samples, until Stop or ctx's end.
func (r *Recorder) Start(ctx context.Context) error {
	ctx, r.cancel = context.WithCancel(ctx)
	r.stop = make(chan struct{})
	r.window.StartNS = clock.MonoNS()
	if r.processErr == nil {
		r.running.Go(func() { r.sampleProcess(ctx) })
	}
	if r.noConn == nil {
		r.running.Go(func() {
			every(ctx, r.stop, metricsEvery, func() bool { return r.keepMetrics(ctx) })
		})
	}
	return nil
}

// every calls f at once, then each period until it says false, ctx ends, or
// stop is closed; after that once more.
func every(ctx context.Context, stop <-chan struct{}, period time.Duration, f func() bool) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for last := false; f() && !last; {
		select {
		case <-ticker.C:
		case <-stop:
			last = true
		case <-ctx.Done():
			return
		}
	}
}

// socketTimes are the moments, after Start, at which sockets are read.
func (r *Recorder) socketTimes() []time.Duration {
	w := r.cfg.Window
	return []time.Duration{w / 10, w / 2, w * 3 / 4}
}

func (r *Recorder) sampleProcess(ctx context.Context) {
	began := time.Now()
	due := r.socketTimes()
	every(ctx, r.stop, processEvery, func() bool {
		withSockets := len(due) > 0 && time.Since(began) >= due[0]
		if withSockets {
			due = due[1:]
		}
		return r.keepProcess(withSockets)
	})
}

// keepProcess takes one sample; false means that there will be no more.
func (r *Recorder) keepProcess(withSockets bool) bool {
	sample := bundle.ProcSample{MonoNS: clock.MonoNS()}
	err := r.explain(r.read(&sample, r.previous()))
	var socketsErr error
	if err == nil && withSockets {
		var all procfs.Sockets
		// Of what was read with an error nothing is kept: a part would be taken
		// for the whole.
		if all, socketsErr = r.process.Sockets(); socketsErr == nil {
			sample.Sockets, sample.RecvQBytes, sample.SendQBytes = all.ByState, all.RecvQBytes, all.SendQBytes
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.processErr = err
		return false
	}
	if withSockets {
		if r.socketsErr = r.explain(socketsErr); socketsErr == nil {
			r.socketsRead++
		}
	}
	if sample.Threads > maxThreads {
		r.skippedCS++
	}
	r.samples = append(r.samples, sample)
	return len(r.samples) < maxSamples
}

func (r *Recorder) previous() *bundle.ProcSample {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) == 0 {
		return nil
	}
	last := r.samples[len(r.samples)-1]
	return &last
}

// read fills in a sample, sockets excepted. Context switches are carried over
// from the previous sample when there are too many threads to ask.
func (r *Recorder) read(into, previous *bundle.ProcSample) error {
	st, err := r.process.Stat()
	if err != nil {
		return err
	}
	if st.Ended || st.StartTicks != r.born {
		return os.ErrNotExist // what the kernel says once a process is gone for good
	}
	into.UserNS, into.SystemNS = st.UserNS, st.SystemNS
	ps, err := r.process.Status()
	if err != nil {
		return err
	}
	into.RSSBytes, into.Threads = ps.RSSBytes, ps.Threads
	switch {
	case ps.Threads <= maxThreads:
		if into.VoluntaryCS, into.InvoluntaryCS, err = r.process.ContextSwitches(); err != nil {
			return err
		}
	case previous != nil:
		into.VoluntaryCS, into.InvoluntaryCS = previous.VoluntaryCS, previous.InvoluntaryCS
	}
	if into.FDs, err = r.process.OpenFiles(); err != nil {
		return err
	}
	if into.FDLimit, err = r.process.OpenFilesLimit(); err != nil {
		return err
	}
	if into.MachineIdleNS, into.MachineTotalNS, err = procfs.Machine(); err != nil {
		return err
	}
	into.AllowedIdleNS, err = procfs.IdleOn(r.cpus)
	return err
}

// keepMetrics takes one sample; false means that there will be no more.
func (r *Recorder) keepMetrics(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	sent := clock.MonoNS()
	values, err := readMetrics(asking, r.conn, r.subject.MetricsURL)
	// The target read them somewhere between the question and the answer.
	at := sent + (clock.MonoNS()-sent)/2
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.metrics = append(r.metrics, bundle.MetricsSample{MonoNS: at, Values: values})
	case ctx.Err() == nil:
		r.metricsErr = err
		r.metricsMiss++
	}
	return len(r.metrics) < maxSamples
}

func readMetrics(ctx context.Context, conn *endpoint.Conn, url string) (map[string]float64, error) {
	resp, err := conn.Get(ctx, url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(endpoint.Refusal(resp))
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: the answer broke off: %w", url, err)
	}
	if len(data) > maxMetrics {
		return nil, fmt.Errorf("GET %s: the answer is larger than %d KiB", url, maxMetrics>>10)
	}
	return parseMetrics(url, data)
}

// parseMetrics takes the numbers out of a flat JSON object; what is no number,
// such as a histogram, is passed over.
func parseMetrics(url string, data []byte) (map[string]float64, error) {
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("GET %s: want a JSON object {\"name\": number}: %w", url, err)
	}
	values := make(map[string]float64, len(all))
	for name, v := range all {
		if n, ok := v.(float64); ok {
			values[name] = n
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("GET %s: want a JSON object {\"name\": number}, and there is no number in it", url)
	}
	return values, nil
}

// Stop takes the last samples, and gives up on them when ctx ends.
func (r *Recorder) Stop(ctx context.Context) error {
	if r.cancel == nil {
		return nil
	}
	close(r.stop)
	done := make(chan struct{})
	go func() { r.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		r.cancel()
		<-done // a reading of /proc under way ends in milliseconds
	}
	r.window.EndNS = clock.MonoNS()
	return nil
}

// Write puts the samples into the bundle, one JSON object a line.
func (r *Recorder) Write(_ context.Context, w *bundle.Writer) (bundle.Dimension, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	process := bundle.Probe{Name: ProbeProcess, Window: r.window, Reason: reason(r.processErr)}
	sockets := bundle.Probe{Name: ProbeSockets, Window: r.window, Reason: reason(r.socketsErr)}
	metrics := bundle.Probe{Name: ProbeMetrics, Window: r.window, Reason: reason(errors.Join(r.noConn, r.metricsErr))}
	if len(r.samples) > 0 {
		if err := writeLines(w, bundle.ProcSamples, r.samples); err != nil {
			return bundle.Dimension{}, err
		}
		process.Captured, process.Artifacts = true, []string{bundle.ProcSamples}
		if r.skippedCS > 0 {
			process.Lost = map[string]int64{"context_switch_readings": r.skippedCS}
			process.Reason = strings.Join(slices.DeleteFunc([]string{
				process.Reason,
				fmt.Sprintf("context switches were not read while there were more than %d threads", maxThreads),
			}, func(s string) bool { return s == "" }), "; ")
		}
	}
	switch {
	case r.socketsRead > 0:
		sockets.Captured, sockets.Artifacts = true, []string{bundle.ProcSamples}
	case sockets.Reason == "" && !process.Captured:
		sockets.Reason = process.Reason
	case sockets.Reason == "":
		sockets.Reason = "recording ended before sockets were read"
	}
	if len(r.metrics) > 0 {
		if err := writeLines(w, bundle.ProcMetrics, r.metrics); err != nil {
			return bundle.Dimension{}, err
		}
		metrics.Captured, metrics.Artifacts = true, []string{bundle.ProcMetrics}
	}
	if r.metricsMiss > 0 {
		metrics.Lost = map[string]int64{"readings": r.metricsMiss}
	}
	d := bundle.Dimension{Name: r.Dimension(), Probes: []bundle.Probe{process, sockets, metrics}}
	d.Captured = process.Captured || metrics.Captured
	if !d.Captured {
		d.Reason = process.Reason
	}
	return d, nil
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func writeLines[T any](w *bundle.Writer, path string, lines []T) error {
	out, err := w.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	for _, line := range lines {
		if err := enc.Encode(line); err != nil {
			return errors.Join(fmt.Errorf("write artifact %s: %w", path, err), out.Close())
		}
	}
	return out.Close()
}

// Status implements capture.Recorder.
func (r *Recorder) Status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d samples of /proc, %d of metrics", len(r.samples), len(r.metrics))
}

// Close ends sampling and closes the metrics connection.
func (r *Recorder) Close() error {
	r.closing.Do(func() {
		if r.cancel != nil {
			r.cancel()
			r.running.Wait() // a reading in progress ends in milliseconds
		}
		if r.conn != nil {
			r.conn.Close()
		}
	})
	return nil
}
