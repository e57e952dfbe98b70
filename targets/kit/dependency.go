package kit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// ErrStopped says that the target stops and its dependency answers no more.
var ErrStopped = errors.New("dependency: the service is stopping")

// Dependency is the simulated downstream of a target: a call to it waits and
// uses no CPU. It is what keeps 10,000 requests in flight in a target that is
// not saturated.
type Dependency struct {
	stopped <-chan struct{}
	delay   time.Duration
	jitter  float64
}

// DependencyOption changes a Dependency.
type DependencyOption func(*Dependency)

// WithJitter spreads answers evenly over delay ± share of it (0 to 1; 0.1
// unless set), so that requests which began together do not stay together.
func WithJitter(share float64) DependencyOption {
	return func(d *Dependency) { d.jitter = min(max(share, 0), 1) }
}

// NewDependency returns a dependency that takes delay to answer, until ctx
// ends.
func NewDependency(ctx context.Context, delay time.Duration, opts ...DependencyOption) *Dependency {
	d := &Dependency{stopped: ctx.Done(), delay: delay, jitter: 0.1}
	for _, opt := range opts {
		opt(d)
	}
	return d
}

// Call waits for the answer. It fails with the error of ctx when that ends
// first, and with ErrStopped when the target stops.
func (d *Dependency) Call(ctx context.Context) error {
	timer := time.NewTimer(d.wait())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("calling the dependency: %w", context.Cause(ctx))
	case <-d.stopped:
		return ErrStopped
	}
}

func (d *Dependency) wait() time.Duration {
	return d.delay + time.Duration(float64(d.delay)*d.jitter*(2*rand.Float64()-1))
}

// maxLine bounds one message to a peer, in bytes.
const maxLine = 64 << 10

// ListenPeer starts a peer on a loopback TCP port and returns its address. The
// peer answers each line with the line "ok", after delay, in order on each
// connection: a dependency whose round trip is real network I/O. It hangs up
// and closes the port when ctx ends.
func ListenPeer(ctx context.Context, delay time.Duration) (addr string, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting the peer: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				// Out of descriptors, say: let others close some first.
				time.Sleep(10 * time.Millisecond)
				continue
			}
			go answer(ctx, conn, delay)
		}
	}()
	return l.Addr().String(), nil
}

func answer(ctx context.Context, conn net.Conn, delay time.Duration) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	for lines.Scan() {
		// Not a timer in a select, which would stand in the block profile of
		// the target: the peer is a part of it only for the lab's convenience.
		time.Sleep(delay)
		if _, err := conn.Write([]byte("ok\n")); err != nil {
			return
		}
	}
}
