package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// In every claim requests are those that got a response, whatever its status;
// errors are those that did not, and statuses from 400 up.

// parseOwn reads what attackMode writes.
func parseOwn(stdout []byte, _ job) (claim, error) {
	var o ownReport
	if err := json.Unmarshal(stdout, &o); err != nil {
		return claim{}, fmt.Errorf("chokepoint: %w", err)
	}
	return claim{requests: o.Responses, errors: o.Errors, p99: time.Duration(o.P99NS)}, nil
}

// parseVegeta reads the results that `vegeta attack` left in a file.
func parseVegeta(_ []byte, j job) (claim, error) {
	file, err := os.Open(j.file("results"))
	if err != nil {
		return claim{}, fmt.Errorf("vegeta: %w", err)
	}
	defer file.Close()
	var (
		c       claim
		metrics vegeta.Metrics
		decode  = vegeta.NewDecoder(file)
	)
	for {
		var r vegeta.Result
		if err := decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return claim{}, fmt.Errorf("vegeta: result %d: %w", metrics.Requests+1, err)
		}
		metrics.Add(&r)
		if r.Code != 0 {
			c.requests++
		}
		if r.Code < 200 || r.Code >= 400 {
			c.errors++
		}
	}
	metrics.Close()
	c.p99 = metrics.Latencies.P99
	return c, nil
}

// parseFortio reads `fortio load -json=-`.
func parseFortio(stdout []byte, _ job) (claim, error) {
	var r struct {
		DurationHistogram struct {
			Percentiles []struct{ Percentile, Value float64 }
		}
		RetCodes map[string]int64
	}
	if err := json.Unmarshal(stdout, &r); err != nil {
		return claim{}, fmt.Errorf("fortio: %w", err)
	}
	var c claim
	for text, n := range r.RetCodes {
		code, err := strconv.Atoi(text)
		if err != nil {
			return claim{}, fmt.Errorf("fortio: RetCodes: %w", err)
		}
		if code > 0 { // -1 is a request without a response
			c.requests += n
		}
		if code < 200 || code >= 400 {
			c.errors += n
		}
	}
	for _, p := range r.DurationHistogram.Percentiles {
		if p.Percentile == 99 {
			c.p99 = inSeconds(p.Value)
			return c, nil
		}
	}
	return claim{}, errors.New("fortio: its output has no percentile 99")
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkP99      = regexp.MustCompile(`(?m)^\s*99%\s+([\d.]+)(us|ms|s|m|h)\s*$`)
	wrkSocket   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// parseWrk reads `wrk --latency`.
func parseWrk(stdout []byte, _ job) (claim, error) {
	requests, p99 := wrkRequests.FindSubmatch(stdout), wrkP99.FindSubmatch(stdout)
	if requests == nil || p99 == nil {
		return claim{}, errors.New("wrk: its output has no number of requests or no 99% latency")
	}
	var c claim
	var err error
	if c.requests, err = sumOf(requests[1:]); err != nil {
		return claim{}, fmt.Errorf("wrk: %w", err)
	}
	for _, pattern := range []*regexp.Regexp{wrkSocket, wrkStatus} {
		if found := pattern.FindSubmatch(stdout); found != nil {
			n, err := sumOf(found[1:])
			if err != nil {
				return claim{}, fmt.Errorf("wrk: %w", err)
			}
			c.errors += n
		}
	}
	if c.p99, err = time.ParseDuration(string(p99[1]) + string(p99[2])); err != nil {
		return claim{}, fmt.Errorf("wrk: 99%% latency: %w", err)
	}
	return c, nil
}

// parseBombardier reads `bombardier --print=result --format=json --latencies`;
// its latencies are in microseconds.
func parseBombardier(stdout []byte, _ job) (claim, error) {
	var r struct {
		Result struct {
			Req1xx, Req2xx, Req3xx, Req4xx, Req5xx, Others int64

			Latency struct {
				Percentiles map[string]float64
			}
		}
	}
	if err := json.Unmarshal(stdout, &r); err != nil {
		return claim{}, fmt.Errorf("bombardier: %w", err)
	}
	p99, ok := r.Result.Latency.Percentiles["99"]
	if !ok {
		return claim{}, errors.New("bombardier: its output has no percentile 99")
	}
	n := r.Result
	return claim{
		requests: n.Req1xx + n.Req2xx + n.Req3xx + n.Req4xx + n.Req5xx,
		errors:   n.Req4xx + n.Req5xx + n.Others,
		p99:      time.Duration(p99 * float64(time.Microsecond)),
	}, nil
}

var (
	heyP99    = regexp.MustCompile(`(?m)^\s*99%+ in ([\d.]+) secs`)
	heyStatus = regexp.MustCompile(`(?m)^\s*\[(\d+)\]\s+(\d+) responses`)
	heyErrors = regexp.MustCompile(`(?m)^\s*\[(\d+)\]\s+`)
)

// parseHey reads hey's summary.
func parseHey(stdout []byte, _ job) (claim, error) {
	text, failed, _ := bytes.Cut(stdout, []byte("Error distribution:"))
	if !bytes.Contains(text, []byte("Status code distribution:")) {
		return claim{}, errors.New("hey: its output has no status codes")
	}
	var c claim
	for _, found := range heyStatus.FindAllSubmatch(text, -1) {
		n, err := sumOf(found[2:])
		if err != nil {
			return claim{}, fmt.Errorf("hey: %w", err)
		}
		c.requests += n
		if code := found[1]; len(code) != 3 || code[0] < '2' || code[0] > '3' {
			c.errors += n
		}
	}
	for _, found := range heyErrors.FindAllSubmatch(failed, -1) {
		n, err := sumOf(found[1:])
		if err != nil {
			return claim{}, fmt.Errorf("hey: %w", err)
		}
		c.errors += n
	}
	if p99 := heyP99.FindSubmatch(text); p99 != nil { // absent when nothing was answered
		value, err := strconv.ParseFloat(string(p99[1]), 64)
		if err != nil {
			return claim{}, fmt.Errorf("hey: 99%% latency: %w", err)
		}
		c.p99 = inSeconds(value)
	}
	return c, nil
}

// parseK6 reads the file of `k6 run --summary-export`. Its http_req_failed is a
// rate of failures, so what "passes" there is a request that failed. How many of
// these got a response it does not say; none is assumed.
func parseK6(_ []byte, j job) (claim, error) {
	raw, err := os.ReadFile(j.file("summary.json"))
	if err != nil {
		return claim{}, fmt.Errorf("k6: %w", err)
	}
	var r struct {
		Metrics struct {
			Failed *struct{ Passes, Fails int64 } `json:"http_req_failed"`
			Took   *struct {
				P99 float64 `json:"p(99)"` // ms
			} `json:"http_req_duration"`
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return claim{}, fmt.Errorf("k6: summary: %w", err)
	}
	m := r.Metrics
	if m.Failed == nil || m.Took == nil {
		return claim{}, errors.New("k6: its summary has no http_req_failed or no http_req_duration")
	}
	return claim{requests: m.Failed.Fails, errors: m.Failed.Passes, p99: time.Duration(m.Took.P99 * float64(time.Millisecond))}, nil
}

func sumOf(digits [][]byte) (int64, error) {
	var sum int64
	for _, d := range digits {
		n, err := strconv.ParseInt(string(d), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
