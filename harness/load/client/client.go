package client

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"chokepoint/harness/load/http1"
)

// ErrHungUp is what requests end with that Close ends, and what those get that
// come after it. It is no failure of the target.
var ErrHungUp = http1.ErrClosed

// Client makes the requests of one attack. Its methods may be called from
// several goroutines.
type Client struct {
	polite      engine
	name, why   string
	behave      []*misbehaver
	upTo        []uint64 // of the hash, for each behaviour
	connections *dialer
	cancel      context.CancelFunc // ends what is badly behaved
	misbehaving *inFlight
	once        sync.Once
	err         error
}

// engine sends polite requests.
type engine interface {
	http.RoundTripper
	Keep(n int)
	Close() error
}

// New checks p and begins to open the connections that it wants kept open. Sockets
// is told of each connection made (+1) and closed (-1), from many goroutines; it
// must return at once and may be nil.
func New(p Plan, sockets func(change int)) (*Client, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout
	}
	to, err := p.peer()
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if p.From, err = p.sources(to); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := &Client{connections: newDialer(p.From, sockets), misbehaving: newInFlight()}
	if err := c.choose(p, to, sockets); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	total := 0.0
	for _, b := range p.Behaviours {
		m, err := newMisbehaver(ctx, p, to, c.connections, c.misbehaving, b)
		if err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("client: %w", err)
		}
		c.behave = append(c.behave, m)
		total += b.Share
		c.upTo = append(c.upTo, threshold(total))
	}
	if p.Connections > 0 {
		c.polite.Keep(p.Connections)
	}
	return c, nil
}

// sources are the addresses to send from.
func (p Plan) sources(to peer) ([]netip.Addr, error) {
	ports, err := localPorts()
	if err != nil {
		return nil, err
	}
	inFlight, connections := max(p.MaxInFlight, p.allInFlight), max(p.Connections, p.allConnections)
	apart := int(math.Ceil(p.BadShare() * float64(inFlight))) // each has a connection of its own
	if p.HTTP2 {
		inFlight = (inFlight + streamsPlanned - 1) / streamsPlanned
	}
	need := max(inFlight, connections) + apart
	if len(p.From) > 0 {
		return p.From, enoughPorts(need, len(p.From), ports)
	}
	return sources(to.ip, need, ports)
}

// choose makes the engine for polite requests.
func (c *Client) choose(p Plan, to peer, sockets func(int)) error {
	c.name, c.why = EngineNetHTTP, notLean(to, p)
	if p.Engine == EngineNetHTTP && c.why == "" {
		c.why = "the scenario asks for net/http"
	}
	if c.why == "" {
		c.name = EngineLean
		lean, err := http1.New(http1.Options{
			Addr: to.addr,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return c.connections.bare(ctx, network, addr, 0)
			},
			MaxConns:       max(p.MaxInFlight, p.Connections),
			Timeout:        p.Timeout,
			MaxHeaderBytes: longestHeader,
			ShareHeaders:   true, // nobody here changes one
			Arrivals:       true,
			Sockets:        sockets,
		})
		if err != nil {
			return err
		}
		c.polite = lean
		return nil
	}
	dial := func(ctx context.Context) (net.Conn, error) { return c.connections.dial(ctx, "tcp", to.addr, 0) }
	connect, err := newConnector(p, to, dial, nil)
	if err != nil {
		return err
	}
	connect.settled = true
	c.polite = newPool(connect.connect, c.connections, p)
	return nil
}

// Engine names what sends polite requests, and says why it is not the lean engine
// where it is not.
func (c *Client) Engine() (name, why string) { return c.name, c.why }

// RoundTripper sends polite requests.
func (c *Client) RoundTripper() http.RoundTripper { return c.polite }

// Behave sends requests as the badly behaved client i of the plan does. What ends
// as it is meant to ends with ErrMisbehaved; any other result is as it is.
func (c *Client) Behave(i int) http.RoundTripper { return c.behave[i] }

// Keep keeps at least n connections open from now on, idle ones included. Over
// HTTP/2 there are then at most n, if n is not 0.
func (c *Client) Keep(n int) { c.polite.Keep(n) }

// Waiting is the number of polite requests that wait for an HTTP/2 stream or a
// connection of net/http's engine: they are in flight for the client, and the
// target has not seen them.
func (c *Client) Waiting() int {
	if p, ok := c.polite.(*pool); ok {
		return int(p.waiting.Load())
	}
	return 0
}

// Pick is the badly behaved client that request seq has, or -1 for a polite one.
// It depends on seq alone, by a hash: shares hold over any run of requests, and do
// not beat with request templates that take turns.
func (c *Client) Pick(seq uint64) int {
	if len(c.upTo) == 0 {
		return -1
	}
	x := hash(seq)
	for i, up := range c.upTo {
		if x < up {
			return i
		}
	}
	return -1
}

// hash mixes as splitmix64 does (Steele, Lea, Flood: Fast Splittable Pseudorandom
// Number Generators, 2014).
func hash(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// threshold is the share as a part of all hashes.
func threshold(share float64) uint64 {
	const all = 1 << 63 // half of them: all of 2^64 is no uint64
	if share >= 1 {
		return math.MaxUint64
	}
	return uint64(share*all) << 1
}

// Close hangs up: requests in flight end with ErrHungUp, their sockets are reset,
// and there are no more requests. Nothing is left when it returns, but what holds
// a response's body that it has not read to the end.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.cancel()
		c.err = c.polite.Close()
		c.connections.close()
		c.misbehaving.wait()
	})
	return c.err
}
