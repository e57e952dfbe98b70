package latency

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"chokepoint/harness/bundle"
)

// Result is one result as load/results.gob holds it: the fields of vegeta's Result,
// and one more, over which vegeta's own decoder passes as gob does with what is
// not asked for.
type Result struct {
	Attack    string
	Seq       uint64
	Code      uint16
	Timestamp time.Time // of the wall clock: when the request was sent
	Latency   time.Duration
	BytesOut  uint64
	BytesIn   uint64
	Error     string
	Body      []byte
	Method    string
	URL       string
	Headers   http.Header
	// Local is the client's end of the connection, "127.0.0.1:43210"; empty where the
	// client does not tell it.
	Local string
}

// Request is one request as the client saw it, in CLOCK_MONOTONIC nanoseconds.
type Request struct {
	StartNS, EndNS int64
	Failed         bool // no response, or a status below 200 or above 399
	NoResponse     bool // no complete response: the client gave up, or the connection broke
	// Local is the client's end of the connection, "127.0.0.1:43210"; empty where
	// the results do not tell.
	Local string
}

// mostResults bounds what is read.
const mostResults = 1 << 25

// ReadResults reads results in vegeta's encoding. Their times are of the wall
// clock, and clock says what that was against CLOCK_MONOTONIC. A stream that ends
// early gives what was read, and an error.
func ReadResults(r io.Reader, clock bundle.Clock) ([]Request, error) {
	// These fields of Result are enough; gob finds them by name.
	type result struct {
		Code      uint16
		Timestamp time.Time
		Latency   time.Duration
		Error     string
		Local     string
	}
	var out []Request
	decode := gob.NewDecoder(r)
	local := map[string]string{} // each kept once
	for {
		var x result
		err := decode.Decode(&x)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("results: after %d: %w", len(out), err)
		}
		if len(out) == mostResults {
			return out, fmt.Errorf("results: more than %d", mostResults)
		}
		start := x.Timestamp.Sub(clock.Wall).Nanoseconds() + clock.MonoNS
		if x.Latency < 0 || start < 0 || start+int64(x.Latency) < start {
			return out, fmt.Errorf("results: after %d: a request began at %s and took %s", len(out), x.Timestamp, x.Latency)
		}
		out = append(out, Request{
			StartNS: start, EndNS: start + int64(x.Latency),
			Failed: x.Error != "" || x.Code < 200 || x.Code > 399, NoResponse: x.Code == 0,
			Local: intern(local, x.Local),
		})
	}
}

// intern gives an equal string, the same one each time. Of a connection there
// are many requests.
func intern(known map[string]string, s string) string {
	if s == "" {
		return ""
	}
	kept, ok := known[s]
	if !ok {
		kept = strings.Clone(s)
		known[kept] = kept
	}
	return kept
}
