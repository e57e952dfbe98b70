package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// attackMode as first argument makes this program a generator: vegeta's library
// with one of the engines.
const attackMode = "attack"

// The engines, each an http.RoundTripper.
const (
	engineLean    = "lean"
	engineNetHTTP = "net/http"
)

// ownReport is what attackMode writes.
type ownReport struct {
	Responses int64 `json:"responses"`
	Errors    int64 `json:"errors"`
	P99NS     int64 `json:"p99_ns"`
}

func ownContender(name, engine string) contender {
	return contender{
		name: name,
		invoke: func(j job) invocation {
			return invocation{
				args: []string{attackMode, engine, j.url, strconv.Itoa(j.connections), j.length.String()},
				env:  []string{"GOMAXPROCS=1"},
			}
		},
		parse: parseOwn,
	}
}

// attackMain attacks as the arguments say: engine, URL, connections, length.
func attackMain(args []string, out io.Writer) error {
	if len(args) != 4 {
		return fmt.Errorf("%s takes engine, URL, connections and length", attackMode)
	}
	target, err := url.Parse(args[1])
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	connections, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("attack: connections: %w", err)
	}
	length, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("attack: length: %w", err)
	}
	transport, hangUp, err := engine(args[0], target.Host, connections)
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	r, err := attack(transport, target.String(), connections, length)
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if err := hangUp(); err != nil {
		return fmt.Errorf("attack: hang up: %w", err)
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return fmt.Errorf("attack: report: %w", err)
	}
	return nil
}

func engine(name, addr string, connections int) (http.RoundTripper, func() error, error) {
	switch name {
	case engineLean:
		return leanEngine(addr, connections)
	case engineNetHTTP:
		t := &http.Transport{
			DialContext:         (&net.Dialer{Timeout: patience, KeepAlive: -1}).DialContext,
			MaxConnsPerHost:     connections,
			MaxIdleConns:        connections,
			MaxIdleConnsPerHost: connections,
			DisableCompression:  true,
		}
		return t, func() error { t.CloseIdleConnections(); return nil }, nil
	}
	return nil, nil, fmt.Errorf("engine is %q; it must be %q or %q", name, engineLean, engineNetHTTP)
}

func attack(transport http.RoundTripper, target string, connections int, length time.Duration) (ownReport, error) {
	const longest = int64(10 * time.Minute)
	latency := hdrhistogram.New(int64(time.Microsecond), longest, 3)
	attacker := vegeta.NewAttacker(
		vegeta.Client(&http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		vegeta.Workers(1),
		vegeta.MaxWorkers(uint64(connections)),
		vegeta.MaxBody(0),
	)
	targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: target})
	var (
		r      ownReport
		lastly error
	)
	for hit := range attacker.Attack(targeter, vegeta.Rate{}, length, "") {
		if hit.Code != 0 {
			r.Responses++
		}
		if hit.Code < 200 || hit.Code >= 400 {
			r.Errors++
		}
		if err := latency.RecordValue(min(int64(hit.Latency), longest)); err != nil {
			lastly = err
		}
	}
	r.P99NS = latency.ValueAtQuantile(99)
	return r, lastly
}
