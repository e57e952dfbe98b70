package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"chokepoint/harness/clock"
	"chokepoint/harness/load"
	"chokepoint/harness/load/client"
	"chokepoint/harness/load/request"
	"chokepoint/harness/load/schedule"
	"chokepoint/harness/load/worker"
)

// attackMode as first argument makes this program a harness that does nothing
// but generate load, by a worker process as a scenario's load has it.
const attackMode = "attack"

// The engines, as scenarios name them.
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
			return invocation{args: []string{attackMode, engine, j.url, strconv.Itoa(j.connections), j.length.String()}}
		},
		parse: parseOwn,
	}
}

// attackMain attacks as the arguments say: engine, URL, connections, length.
func attackMain(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 4 {
		return fmt.Errorf("%s takes engine, URL, connections and length", attackMode)
	}
	connections, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("attack: connections: %w", err)
	}
	length, err := time.ParseDuration(args[3])
	if err != nil {
		return fmt.Errorf("attack: length: %w", err)
	}
	r, err := attack(ctx, args[0], args[1], connections, length)
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return fmt.Errorf("attack: report: %w", err)
	}
	return nil
}

// attack generates load as `chokepoint run` does: a worker process with the
// limits that a scenario's load has by default, its whole account kept. As there,
// the window, from which p99 comes, begins when the load stands: a request that
// waits for its connection to be made says nothing of the server. It begins after
// half of the length at the latest. Responses and errors are all there were.
func attack(ctx context.Context, engine, target string, connections int, length time.Duration) (ownReport, error) {
	g, err := load.New(load.Config{
		Stages:  []schedule.Stage{{Level: float64(connections), Captured: true}},
		Request: request.Plan{Templates: []request.Template{{Path: "/"}}},
		Client:  client.Plan{BaseURL: target, Engine: engine, Timeout: patience},
		Results: "sampled",
	})
	if err != nil {
		return ownReport{}, err
	}
	if err := g.Start(ctx); err != nil {
		return ownReport{}, err
	}
	end := time.After(length)
	standing, cancel := context.WithTimeout(ctx, length/2)
	_ = g.WaitReached(standing) // the server's count says what was not reached
	cancel()
	g.BeginWindow(clock.MonoNS())
	select {
	case <-end:
	case <-g.Died():
	case <-ctx.Done():
	}
	if err := g.Stop(context.WithoutCancel(ctx)); err != nil {
		return ownReport{}, err
	}
	if err := g.Err(); err != nil {
		return ownReport{}, err
	}
	s, err := g.Summary()
	if err != nil {
		return ownReport{}, err
	}
	r := ownReport{P99NS: int64(s.LatencySeconds.P99 * 1e9)}
	for _, stage := range s.Stages {
		r.Responses += stage.Ended
		r.Errors += stage.Errors
	}
	return r, nil
}

// workMain is the worker process.
func workMain(ctx context.Context) error { return worker.Serve(ctx, os.Stdin, os.Stdout) }
