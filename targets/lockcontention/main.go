// Command lockcontention is an account service. Its mode knob says which of
// four parts serves; each keeps shared state behind a lock, and each has its
// own reason to hold the lock for too long:
//
//	sleep    the session store pauses for its replica while it is locked
//	io       the ledger waits for the journal's answer while it is locked
//	compute  the token cache checks every grant while it is locked
//	rwmutex  the gateway's route table downloads itself while it is locked
//
// The fixed variant does the same work and holds the lock only to touch what
// the lock is for.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "An account service whose shared state is behind a lock.",
		Knobs: map[string]string{
			"mode":  "sleep|io|compute|rwmutex",
			"delay": "2500ms", // what a request waits for other services, in all
			"hold":  "10ms",   // the slow work: for each request, or for each refresh (rwmutex)
			"every": "1s",     // how often background work runs (compute, rwmutex)
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	switch mode := o.String("mode"); mode {
	case "sleep":
		return newSessionAPI(ctx, o), nil
	case "io":
		return newLedgerAPI(ctx, o)
	case "compute":
		return newTokenAPI(ctx, o), nil
	case "rwmutex":
		return newGateway(ctx, o)
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// accounts is how many accounts there are: requests are numbered without end,
// and the state they share must not grow with them.
const accounts = 10_000

// account returns the account that r is for, or answers r with what is wrong.
func account(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	n, err := strconv.Atoi(r.URL.Query().Get("account"))
	if err != nil || n < 0 {
		http.Error(w, "account: give a whole number, 0 or more", http.StatusBadRequest)
		return 0, false
	}
	return n % accounts, true
}

// unavailable answers that a service behind this one failed.
func unavailable(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
