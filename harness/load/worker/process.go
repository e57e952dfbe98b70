package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"chokepoint/harness/affinity"
	"chokepoint/harness/load/account"
	"chokepoint/harness/load/attack"
)

// What a caller tells apart with errors.Is.
var (
	// ErrDied means that a worker process ended though nobody had asked it to.
	ErrDied = errors.New("the load generator died")
	// ErrStuck means that one did not end though it was asked to.
	ErrStuck = errors.New("the load generator is stuck")
)

// Limits are those of a worker process.
type Limits struct {
	GOMAXPROCS  int   // CPUs that Go code uses at once; 0: as Go would have it
	GOGC        int   // percent; 0: the default of Start
	MemoryBytes int64 // GOMEMLIMIT; 0: none
	CPUs        []int // the CPUs it may run on; none: those of this process
}

const (
	// defaultGOGC lets the collector run rarely while there is room: each of its
	// runs scans the stacks of all requests in flight.
	defaultGOGC = 400

	// answerTime bounds the wait for what a worker answers at once.
	answerTime = 15 * time.Second
)

// Process is a running worker. Its methods may be called from several goroutines.
type Process struct {
	number int
	cmd    *exec.Cmd
	out    *frames
	stdin  io.Closer
	said   *tail

	ready   chan Ready // one value
	account chan Account
	reading chan account.Reading
	ended   chan struct{} // closed when the process is gone

	mu       sync.Mutex
	live     Live
	stopping bool
	failure  error // what it said, or how it ended
}

// Start starts worker p.Worker as command, and hands it its plan. It returns when
// the worker is ready to begin. Results are written to
// results as they come; its errors are its own to keep.
func Start(ctx context.Context, command []string, limits Limits, plan attack.Plan, results io.Writer) (*Process, Ready, error) {
	p := &Process{number: plan.Worker, ready: make(chan Ready, 1), account: make(chan Account, 1), reading: make(chan account.Reading, 1), ended: make(chan struct{}), said: &tail{}}
	if err := p.spawn(command, limits, results); err != nil {
		return nil, Ready{}, fmt.Errorf("start load worker %d: %w", plan.Worker, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("it was not ready within %s", answerTime))
	defer cancel()
	// A plan with values is larger than a pipe: handing it over waits for a worker
	// that reads. It may be late as little as the rest.
	late := context.AfterFunc(ctx, p.kill)
	unsent := p.out.send(kindPlan, plan)
	if !late() {
		return nil, Ready{}, p.lateStart(ctx)
	}
	if unsent != nil {
		// Whoever does not read its plan may still say why.
		err := p.because(fmt.Errorf("hand load worker %d its plan: %w", plan.Worker, unsent))
		p.Kill()
		return nil, Ready{}, err
	}
	select {
	case r := <-p.ready:
		return p, r, nil
	case <-p.ended:
		return nil, Ready{}, p.Err()
	case <-ctx.Done():
		return nil, Ready{}, p.lateStart(ctx)
	}
}

// lateStart ends a worker that was not ready when ctx ended, and says so.
func (p *Process) lateStart(ctx context.Context) error {
	p.Kill()
	return fmt.Errorf("start load worker %d (%s): %w%s", p.number, p.cmd.Path, context.Cause(ctx), p.said.lastWords())
}

func (p *Process) spawn(command []string, limits Limits, results io.Writer) error {
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = limits.environ(os.Environ())
	p.cmd.Stderr = p.said
	// Ctrl-C in a terminal goes to the whole foreground group. The harness then
	// ends the load in order.
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	// A worker has no children. A program that is none may, and they may hold its
	// standard error open.
	p.cmd.WaitDelay = time.Second
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := affinity.Start(limits.CPUs, p.cmd.Start); err != nil {
		return err
	}
	p.out, p.stdin = newFrames(stdin), stdin
	go p.follow(bufio.NewReaderSize(stdout, 64<<10), results)
	return nil
}

// environ is the environment of a worker. Go reads its limits from there before
// the first goroutine runs.
func (l Limits) environ(env []string) []string {
	set := func(name, value string) { env = append(env, name+"="+value) } // the last one counts
	if l.GOMAXPROCS > 0 {
		set("GOMAXPROCS", strconv.Itoa(l.GOMAXPROCS))
	}
	gogc := l.GOGC
	if gogc == 0 {
		gogc = defaultGOGC
	}
	set("GOGC", strconv.Itoa(gogc))
	if l.MemoryBytes > 0 {
		set("GOMEMLIMIT", strconv.FormatInt(l.MemoryBytes, 10))
	}
	return env
}

// follow reads what the worker says until it ends.
func (p *Process) follow(in *bufio.Reader, results io.Writer) {
	err := p.read(in, results)
	said, own := errors.AsType[saidFailed](err)
	switch {
	case own:
		p.fail(fmt.Errorf("load worker %d: %w", p.number, said))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		// It is gone, perhaps in the middle of a frame. How it ended says why.
	default:
		p.fail(fmt.Errorf("load worker %d (%s) does not speak as one: %w%s", p.number, p.cmd.Path, err, p.said.lastWords()))
		p.kill() // it need not end as one either
	}
	_ = p.stdin.Close() // whatever it still does, it ends now
	go func() { _, _ = io.Copy(io.Discard, in) }()
	timer := time.AfterFunc(answerTime, p.kill)
	waited := p.cmd.Wait()
	timer.Stop()
	p.mu.Lock()
	if !p.stopping || waited != nil {
		p.setFailure(fmt.Errorf("%w: load worker %d (pid %d): %s%s", ErrDied, p.number, p.cmd.Process.Pid, ending(p.cmd.ProcessState), p.said.lastWords()))
	}
	p.live.InFlight, p.live.Sockets = 0, 0
	p.mu.Unlock()
	close(p.ended)
}

func ending(s *os.ProcessState) string {
	if s == nil {
		return "it was lost"
	}
	return s.String()
}

func (p *Process) read(in *bufio.Reader, results io.Writer) error {
	if err := readHello(in); err != nil {
		return err
	}
	for {
		k, body, err := readFrame(in)
		if err != nil {
			return err
		}
		switch k {
		case kindReady:
			r, err := decode[Ready](k, body)
			if err != nil {
				return err
			}
			select {
			case p.ready <- r:
			default:
				return errors.New("it said twice that it is ready")
			}
		case kindLive:
			l, err := decode[Live](k, body)
			if err != nil {
				return err
			}
			p.mu.Lock()
			if l.Last.StartNS == 0 { // it has not changed
				l.Last = p.live.Last
			}
			p.live = l
			p.mu.Unlock()
		case kindResults:
			// A full disk costs the results and not the load; the writer keeps the error.
			_, _ = results.Write(body)
		case kindAccount:
			a, err := decode[Account](k, body)
			if err != nil {
				return err
			}
			select {
			case p.account <- a:
			default:
				return errors.New("it gave its account twice")
			}
		case kindReading:
			a, err := decode[account.Reading](k, body)
			if err != nil {
				return err
			}
			select {
			case p.reading <- a:
			default:
				return errors.New("it gave a reading that nobody asked for")
			}
		case kindFailed:
			f, err := decode[failed](k, body)
			if err != nil {
				return err
			}
			return saidFailed(f.Error)
		default:
			return fmt.Errorf("it sent %s, which is for the harness to say", k)
		}
	}
}

// saidFailed is what a worker says of its own end.
type saidFailed string

func (f saidFailed) Error() string { return string(f) }

func readHello(in *bufio.Reader) error {
	k, body, err := readFrame(in)
	if err != nil {
		return err
	}
	h, err := decode[hello](k, body)
	if err != nil {
		return err
	}
	if k != kindHello || h.Protocol != protocol {
		return fmt.Errorf("it began with %s of protocol %q; that is no load worker", k, h.Protocol)
	}
	if h.Version != Version {
		return fmt.Errorf("it speaks version %d of the stream and this program version %d; was chokepoint replaced while it ran?", h.Version, Version)
	}
	return nil
}

func (p *Process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setFailure(err)
}

// setFailure keeps the first failure: those that follow come from it.
func (p *Process) setFailure(err error) {
	if p.failure == nil {
		p.failure = err
	}
}

// because is the worker's own failure if it has one, else err: a pipe that breaks
// says less than why the process behind it ended.
func (p *Process) because(err error) error {
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		return err
	}
	if failure := p.Err(); failure != nil {
		return failure
	}
	return err
}

// Begin lets the attack begin at atNS, CLOCK_MONOTONIC.
func (p *Process) Begin(atNS int64) error {
	return p.tell(kindStart, start{AtNS: atNS})
}

// Window begins the measured window, or ends it, at monoNS, CLOCK_MONOTONIC.
func (p *Process) Window(monoNS int64, end bool) error {
	return p.tell(kindWindow, window{MonoNS: monoNS, End: end})
}

// Read asks for a reading and waits for it. One may be asked for at a time.
func (p *Process) Read(ctx context.Context) (account.Reading, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("it gave no reading within %s", answerTime))
	defer cancel()
	select {
	case <-p.reading: // the answer to whoever did not wait for it
	default:
	}
	if err := p.tell(kindRead, struct{}{}); err != nil {
		return account.Reading{}, err
	}
	select {
	case r := <-p.reading:
		return r, nil
	case <-p.ended:
		return account.Reading{}, p.because(fmt.Errorf("read load worker %d: it has ended", p.number))
	case <-ctx.Done():
		return account.Reading{}, fmt.Errorf("read load worker %d: %w", p.number, context.Cause(ctx))
	}
}

// Release ends the captured stage at so long after the attack began.
func (p *Process) Release(at time.Duration) error {
	return p.tell(kindRelease, release{AtNS: int64(at)})
}

func (p *Process) tell(k kind, v any) error {
	if err := p.out.send(k, v); err != nil {
		return p.because(fmt.Errorf("load worker %d: %w", p.number, err))
	}
	return nil
}

// Live is how the attack stood when the worker last said so, at most 50 ms ago.
func (p *Process) Live() Live {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err says, once Ended is closed, why the worker ended before it was stopped: an
// ErrDied, or what it said itself. Nil after a Stop that went well.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// Stop hangs up, and waits until the worker has given its account and is gone, or
// ctx ends. It may be called again to wait on.
func (p *Process) Stop(ctx context.Context) (Account, error) {
	p.mu.Lock()
	first := !p.stopping
	p.stopping = true
	p.mu.Unlock()
	if first {
		// That it cannot be told means that it is gone, which shows below.
		_ = p.out.send(kindStop, struct{}{})
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return Account{}, fmt.Errorf("stop load worker %d: %w", p.number, context.Cause(ctx))
	}
	select {
	case a := <-p.account:
		p.account <- a // for who asks again
		return a, nil
	default:
	}
	if err := p.Err(); err != nil {
		return Account{}, err
	}
	return Account{}, fmt.Errorf("%w: load worker %d ended without an account", ErrDied, p.number)
}

// Kill ends the process at once, and waits until it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.kill()
	<-p.ended
}

// kill ends the process, and what it may have started: it leads a group of its own.
func (p *Process) kill() {
	select {
	case <-p.ended: // its number may be another's by now
	default:
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
	}
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// tail keeps the end of what a worker writes to its standard error, where a Go
// program's panic goes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// lastLines is how many lines at the end of its standard error are told of a
// worker that did not panic: the last alone is often "run with --help".
const lastLines = 3

// lastWords are the lines that say why, if there are any.
func (t *tail) lastWords() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			return "; it said: " + line
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "; it said: " + strings.Join(lines[max(0, len(lines)-lastLines):], " / ")
}
