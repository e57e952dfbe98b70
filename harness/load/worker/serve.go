package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"chokepoint/harness/load/account"
	"chokepoint/harness/load/attack"
	"chokepoint/harness/procfs"
)

// liveEvery is how often a worker says how things stand.
const liveEvery = 50 * time.Millisecond

// Serve is the worker: it speaks the stream on in and out, and makes the load
// that it is asked for. It returns when it was told to stop or in has ended; then
// no request, socket or goroutine of the attack is left.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	s := &server{out: newFrames(out)}
	err := s.serve(ctx, bufio.NewReader(in))
	if err == nil || errors.Is(err, errHarnessGone) {
		return err
	}
	// The harness tells the user; if it cannot be told there is nobody left.
	return errors.Join(err, s.out.send(kindFailed, failed{Error: err.Error()}))
}

var errHarnessGone = errors.New("the harness has gone")

type server struct {
	out    *frames
	attack *attack.Attack
}

func (s *server) serve(ctx context.Context, in *bufio.Reader) error {
	if err := s.out.send(kindHello, hello{Protocol: protocol, Version: Version, PID: os.Getpid()}); err != nil {
		return errHarnessGone
	}
	k, body, err := readFrame(in)
	switch {
	case errors.Is(err, io.EOF):
		return errHarnessGone
	case err != nil:
		return err
	case k != kindPlan:
		return fmt.Errorf("%s came before a plan", k)
	}
	plan, err := decode[attack.Plan](k, body)
	if err != nil {
		return err
	}
	limit, err := raiseOpenFiles(plan.Connections())
	if err != nil {
		return err
	}
	if s.attack, err = attack.New(plan, resultWriter{s.out}); err != nil {
		return err
	}
	engine, why := s.attack.Engine()
	if err := s.out.send(kindReady, Ready{OpenFilesLimit: limit, GOMAXPROCS: runtime.GOMAXPROCS(0), Engine: engine, EngineWhy: why}); err != nil {
		return errHarnessGone
	}
	return s.obey(ctx, in)
}

// obey does what the harness says until it says stop.
func (s *server) obey(ctx context.Context, in *bufio.Reader) error {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	var reports sync.WaitGroup
	defer reports.Wait()
	defer hangUp() // before the wait above
	began := false
	for {
		k, body, err := readFrame(in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			s.attack.Stop()
			return errHarnessGone
		}
		if err == nil {
			err = s.do(ctx, k, body, &began, &reports)
		}
		if err != nil || k == kindStop {
			s.attack.Stop()
			hangUp()
			reports.Wait()
			if err != nil {
				return err
			}
			return s.giveAccount()
		}
	}
}

func (s *server) do(ctx context.Context, k kind, body []byte, began *bool, reports *sync.WaitGroup) error {
	switch k {
	case kindStart:
		m, err := decode[start](k, body)
		if err != nil {
			return err
		}
		if *began {
			return errors.New("it was told to begin twice")
		}
		*began = true
		s.attack.Begin(m.AtNS)
		reports.Go(func() { s.report(ctx) })
	case kindWindow:
		m, err := decode[window](k, body)
		if err != nil {
			return err
		}
		if m.End {
			s.attack.EndWindow(m.MonoNS)
		} else {
			s.attack.BeginWindow(m.MonoNS)
		}
	case kindRelease:
		m, err := decode[release](k, body)
		if err != nil {
			return err
		}
		s.attack.Release(time.Duration(m.AtNS))
	case kindRead:
		if s.out.send(kindReading, s.attack.Read()) != nil {
			return errHarnessGone
		}
	case kindStop:
	default:
		return fmt.Errorf("%s is not for a worker", k)
	}
	return nil
}

// report says how things stand, until ctx ends. That nobody listens any more shows where the stream is read.
func (s *server) report(ctx context.Context) {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	var last int64 // the second last told
	for {
		l := s.live()
		if l.Last.StartNS == last {
			l.Last = account.Second{} // a second is told once: its histograms are dear
		} else {
			last = l.Last.StartNS
		}
		if s.out.send(kindLive, l) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) live() Live {
	return Live{Live: s.attack.Live(), AtLevel: s.attack.AtLevel(), Full: s.attack.Full()}
}

func (s *server) giveAccount() error {
	a := Account{Account: s.attack.Account(), Stages: s.attack.Stages(), PeakRSSBytes: peakRSS()}
	var err error
	a.ResultsWritten, a.ResultsDropped, err = s.attack.Results()
	if err != nil {
		a.ResultsError = err.Error()
	}
	if s.out.send(kindLive, s.live()) != nil || s.out.send(kindAccount, a) != nil {
		return errHarnessGone
	}
	return nil
}

// resultWriter puts results on the stream.
type resultWriter struct{ out *frames }

func (w resultWriter) Write(b []byte) (int, error) {
	if err := w.out.raw(kindResults, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// peakRSS is the most memory this process has held, in bytes; 0 when the machine
// does not say.
func peakRSS() int64 {
	status, err := procfs.Of(os.Getpid()).Status()
	if err != nil {
		return 0
	}
	return status.PeakRSSBytes
}
