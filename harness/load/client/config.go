package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// DefaultTimeout bounds one request when the plan does not. It is far above what
// a flawed target takes, so that slowness shows as latency and not as errors.
const DefaultTimeout = 120 * time.Second

// The engines that a plan may ask for; with none, the lean one is used where it
// can be.
const (
	EngineLean    = "lean"
	EngineNetHTTP = "net/http"
)

// Plan says which client an attack has. It holds data alone, so that it can be
// sent to another process as JSON.
type Plan struct {
	// BaseURL is "http://host:port" or "https://host:port": the one peer.
	BaseURL string `json:"base_url"`
	// Engine is "", EngineLean or EngineNetHTTP.
	Engine string `json:"engine,omitempty"`
	// HTTP2 asks for HTTP/2: by ALPN over https, with prior knowledge over http.
	HTTP2 bool `json:"http2,omitempty"`
	// TLS is for https; nil trusts what the system trusts.
	TLS *TLS `json:"tls,omitempty"`
	// MaxInFlight is the number of polite requests in flight at most.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Connections are kept open, idle ones included. At 0 they are opened as
	// needed. Over HTTP/2 it is also the most: see the package comment.
	Connections int `json:"connections,omitempty"`
	// From are source addresses, used in turn.
	From []netip.Addr `json:"from,omitempty"`
	// Timeout bounds one request, from RoundTrip to the end of its body. At 0 it
	// is DefaultTimeout.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// Behaviours are the badly behaved clients; the rest is polite.
	Behaviours []Behaviour `json:"behaviours,omitempty"`

	// What all workers have together, when this is one's plan.
	allInFlight, allConnections int
}

// TLS says what is trusted.
type TLS struct {
	// CA holds certificates in PEM, trusted beside the system's.
	CA []byte `json:"ca,omitempty"`
	// ServerName is asked for and verified instead of the host of the URL.
	ServerName string `json:"server_name,omitempty"`
	// SkipVerify accepts any certificate.
	SkipVerify bool `json:"skip_verify,omitempty"`
}

// For is the part of p that one of several workers has, which all run on one
// machine. Each has at most mostInFlight requests in flight.
func (p Plan) For(mostInFlight, worker, workers int) Plan {
	p.allInFlight, p.allConnections = mostInFlight*workers, p.Connections
	p.MaxInFlight = mostInFlight
	p.Connections = (p.Connections + workers - 1 - worker) / workers
	return p
}

// BadShare is the share of requests, 0 to 1, that badly behaved clients send. Each
// has a connection of its own, which is net/http's.
func (p Plan) BadShare() float64 {
	share := 0.0
	for _, b := range p.Behaviours {
		share += b.Share
	}
	return share
}

// BehaviourNames says what each badly behaved client does, in the plan's order.
func (p Plan) BehaviourNames() []string {
	names := make([]string, len(p.Behaviours))
	for i, b := range p.Behaviours {
		names[i] = b.String()
	}
	return names
}

// most bounds the counts of a plan, to catch a slip of the keyboard.
const most = 1 << 20

// peer is a BaseURL taken apart.
type peer struct {
	secure bool
	addr   string     // host:port
	ip     netip.Addr // zero when the host is a name
}

func (p Plan) peer() (peer, error) {
	u, err := url.Parse(p.BaseURL)
	if err != nil {
		return peer{}, fmt.Errorf("base URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return peer{}, fmt.Errorf("base URL %q: want http://host:port or https://host:port", p.BaseURL)
	}
	to := peer{secure: u.Scheme == "https"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[to.secure]
	}
	to.addr = net.JoinHostPort(u.Hostname(), port)
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		to.ip = ip.Unmap()
	}
	return to, nil
}

// Validate says what is wrong with p, field by field.
func (p Plan) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	to, err := p.peer()
	if err != nil {
		errs = append(errs, err)
	}
	switch p.Engine {
	case "", EngineNetHTTP:
	case EngineLean:
		if why := notLean(to, p); why != "" {
			bad("engine %q: %s; use %q or leave it out", p.Engine, why, EngineNetHTTP)
		}
	default:
		bad("engine %q is not known; want %q, %q or none", p.Engine, EngineLean, EngineNetHTTP)
	}
	if p.TLS != nil && err == nil && !to.secure {
		bad("tls: base URL %q does not speak TLS; want https://", p.BaseURL)
	}
	if _, err := p.TLS.config(to); err != nil {
		errs = append(errs, err)
	}
	if p.MaxInFlight < 1 || p.MaxInFlight > most {
		bad("max in flight is %d; want 1 to %d requests", p.MaxInFlight, most)
	}
	if p.Connections < 0 || p.Connections > most {
		bad("connections is %d; want 0 (as needed) to %d", p.Connections, most)
	}
	if p.Timeout < 0 {
		bad("timeout is %s; want more than 0s, or 0s for %s", p.Timeout, DefaultTimeout)
	}
	for i, from := range p.From {
		switch {
		case !from.IsValid() || from.IsUnspecified():
			bad("from: address %d (%s) is none to send from", i+1, from)
		case to.ip.IsValid() && from.Unmap().Is4() != to.ip.Is4():
			bad("from: %s cannot reach %s: one is IPv4, the other IPv6", from, to.ip)
		}
	}
	share := 0.0
	for i, b := range p.Behaviours {
		if err := b.Validate(); err != nil {
			bad("behaviour %d: %w", i+1, err)
		}
		share += b.Share
	}
	if share > 1+1e-9 {
		bad("behaviours: their shares sum up to %g; want 1 at most", share)
	}
	return errors.Join(errs...)
}

// notLean says why the lean engine cannot do what p asks; "" when it can.
func notLean(to peer, p Plan) string {
	switch {
	case p.HTTP2:
		return "HTTP/2 is asked for"
	case to.secure:
		return "the target speaks TLS"
	}
	return ""
}

// Lean reports whether the plan's polite requests go through the lean engine.
func (p Plan) Lean() bool {
	to, err := p.peer()
	return err == nil && p.Engine != EngineNetHTTP && notLean(to, p) == ""
}

// config is the tls.Config for to, without protocols.
func (t *TLS) config(to peer) (*tls.Config, error) {
	c := &tls.Config{}
	c.ServerName, _, _ = net.SplitHostPort(to.addr)
	if t == nil {
		return c, nil
	}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	c.InsecureSkipVerify = t.SkipVerify
	if len(t.CA) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			// There are systems without any; what the plan names is still there.
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("tls: ca holds no certificate; want PEM")
		}
		c.RootCAs = roots
	}
	return c, nil
}
