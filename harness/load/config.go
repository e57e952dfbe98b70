package load

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// DefaultTimeout bounds one request when Config does not. It is far above what
// a flawed target takes, so that slowness shows as latency and not as errors.
const DefaultTimeout = 120 * time.Second

// Bounds of a Config, to catch a slip of the keyboard before it hurts.
const (
	maxInFlight = 1 << 20
	maxRateHz   = 1e6
	maxWeights  = 10_000
)

// TokenHeader carries a request's token when its response is checked for it.
const TokenHeader = "X-Request-Token"

// Config describes an attack.
type Config struct {
	// BaseURL is put before each request's path: "http://127.0.0.1:8080".
	BaseURL string
	// InFlight is the number of requests held in flight in a closed loop, and
	// the most that are in flight at a time in an open one.
	InFlight int
	// RateHz is the number of requests sent a second in an open loop. At 0 the
	// loop is closed.
	RateHz float64
	// Ramp is the time over which concurrency or rate rises linearly from 0.
	Ramp time.Duration
	// Timeout bounds one request, from sending to the end of its response.
	// At 0 it is DefaultTimeout.
	Timeout time.Duration
	// Requests are sent in turn, in proportion to their weights.
	Requests []Request
}

// Request is what is sent. In Path, in the values of Header and in Body, {seq}
// stands for an integer and {token} for a string that no other request of this
// attack has.
type Request struct {
	Method string // GET when empty
	Path   string // with the query: "/session?id={seq}"
	Header map[string]string
	Body   string
	Weight int // 1 when 0
	Check  Check
}

// Check says what to look for in the body of a response with status 200 to 399.
type Check struct {
	// Token: the body must hold the request's own token and no other. The token
	// also travels in the header X-Request-Token.
	Token bool
}

// validate returns c with its defaults filled in.
func (c Config) validate() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	switch u, err := url.Parse(c.BaseURL); {
	case err != nil:
		bad("base URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		bad("base URL %q: want http://host:port", c.BaseURL)
	case u.RawQuery != "" || u.Fragment != "":
		bad("base URL %q: a query or fragment belongs into the path of a request", c.BaseURL)
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		bad("in flight is %d; want 1 to %d requests", c.InFlight, maxInFlight)
	}
	// The negated form also refuses NaN.
	if !(c.RateHz >= 0 && c.RateHz <= maxRateHz) {
		bad("rate is %g/s; want 0 (closed loop) to %g/s", c.RateHz, float64(maxRateHz))
	}
	if c.Ramp < 0 {
		bad("ramp is %s; want 0s or more", c.Ramp)
	}
	if c.Timeout < 0 {
		bad("timeout is %s; want more than 0s, or 0s for %s", c.Timeout, DefaultTimeout)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if len(c.Requests) == 0 {
		bad("no requests; name at least one")
	}
	for i, r := range c.Requests {
		if err := r.validate(c.BaseURL); err != nil {
			bad("request %d (%s %s): %w", i+1, r.method(), r.Path, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("load: %w", err)
	}
	return c, nil
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func (r Request) weight() int {
	if r.Weight == 0 {
		return 1
	}
	return r.Weight
}

func (r Request) validate(base string) error {
	if !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("path %q must begin with /", r.Path)
	}
	if r.Weight < 0 || r.Weight > maxWeights {
		return fmt.Errorf("weight is %d; want 1 to %d", r.Weight, maxWeights)
	}
	if unknown := unknownPlaceholder(r.Path); unknown != "" {
		return fmt.Errorf("path: unknown placeholder %s; known are {seq} and {token}", unknown)
	}
	for name, value := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header name %q is not valid", name)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("header %s: value %q is not valid", name, value)
		}
		if unknown := unknownPlaceholder(value); unknown != "" {
			return fmt.Errorf("header %s: unknown placeholder %s; known are {seq} and {token}", name, unknown)
		}
	}
	// What a placeholder becomes (digits, letters, _) cannot make a valid
	// request invalid, so one request proves all.
	sample := parseTemplate(r.Path).expand(1, string(newTokens().token(1)))
	if _, err := http.NewRequest(r.method(), base+sample, nil); err != nil {
		return err
	}
	return nil
}
