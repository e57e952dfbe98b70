package main

import (
	"net/http"

	"chokepoint/harness/load/http1"
)

func leanEngine(addr string, connections int) (http.RoundTripper, func() error, error) {
	t, err := http1.New(http1.Options{Addr: addr, MaxConns: connections, Timeout: patience})
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}
