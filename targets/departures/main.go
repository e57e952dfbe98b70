// Command departures is the board of a tram network. It answers GET /departures?stop=N
// with what leaves there next, and how late that is by the operator's feed of delays, which
// hangs up now and then.
//
// In the flawed variant whoever follows the feed takes its end for a line that is yet
// to come, and reads on; in the fixed one it lets go of the connection and makes another
// after a pause.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() {
	kit.Companions(companions())
	kit.Run(service())
}

// companions are the operator, in a process of its own.
func companions() map[string]func(net.Listener) error {
	return map[string]func(net.Listener) error{"operator": serveDelays}
}

func service() kit.Service {
	return kit.Service{
		About: "the board of a tram network: GET /departures?stop=N",
		Knobs: map[string]string{
			"delay": "2500ms", // what a request waits for the timetable
			"pause": "500ms",  // before the feed is connected to anew
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.StartCompanion(ctx, "operator")
	if err != nil {
		return nil, err
	}
	b := &board{late: map[int]int{}}
	f := &follower{board: b, pause: o.Duration("pause"), readsOn: o.Flawed()}
	go f.run(ctx, addr)

	timetable := kit.NewDependency(ctx, o.Duration("delay"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /departures", func(w http.ResponseWriter, r *http.Request) {
		stop, err := strconv.Atoi(r.URL.Query().Get("stop"))
		if err != nil || stop < 0 {
			http.Error(w, "stop: give a whole number, 0 or more", http.StatusBadRequest)
			return
		}
		if err := timetable.Call(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "stop %d: line %d, %d min late\n", stop, 1+stop%lines, b.delay(stop%lines))
	})
	return mux, nil
}
