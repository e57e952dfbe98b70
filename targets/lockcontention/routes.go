package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// stages are the services that a page is put together from, one after another.
var stages = [...]string{"identity", "profile", "catalogue", "price", "stock", "render"}

// routeTable says where each service runs.
type routeTable struct {
	registry *peer // knows where services run; is asked for one at a time

	mu     sync.RWMutex
	routes map[string]string
}

func newRouteTable(registry *peer) *routeTable {
	return &routeTable{registry: registry, routes: make(map[string]string)}
}

func (t *routeTable) resolve(service string) (endpoint string, err error) {
	if err := t.registry.ask("resolve " + service); err != nil {
		return "", err
	}
	return service + ".internal:8443", nil
}

func (t *routeTable) route(service string) (endpoint string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	endpoint, ok = t.routes[service]
	return endpoint, ok
}

// refresh asks the registry for each service anew. Readers are kept out, lest
// they see a table that is half old and half new.
func (t *routeTable) refresh() error {
	t.mu.Lock() // chokepoint:flaw lock-contention
	defer t.mu.Unlock()
	for _, service := range stages {
		endpoint, err := t.resolve(service)
		if err != nil {
			return err
		}
		t.routes[service] = endpoint
	}
	return nil
}

// replace is refresh on a new table, which readers see once it is whole.
func (t *routeTable) replace() error {
	routes := make(map[string]string, len(stages))
	for _, service := range stages {
		endpoint, err := t.resolve(service)
		if err != nil {
			return err
		}
		routes[service] = endpoint
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routes = routes
	return nil
}

// gateway answers GET /page?account=N by way of every stage.
type gateway struct {
	table  *routeTable
	stage  *kit.Dependency
	flawed bool
}

func newGateway(ctx context.Context, o kit.Options) (http.Handler, error) {
	addr, err := kit.ListenPeer(ctx, o.Duration("hold")/time.Duration(len(stages)))
	if err != nil {
		return nil, fmt.Errorf("the registry: %w", err)
	}
	reg, err := dialPeer(ctx, "registry", addr)
	if err != nil {
		return nil, err
	}
	g := &gateway{
		table:  newRouteTable(reg),
		stage:  kit.NewDependency(ctx, o.Duration("delay")/time.Duration(len(stages))),
		flawed: o.Flawed(),
	}
	// A gateway without routes can serve nothing: the first table comes first.
	if err := g.table.replace(); err != nil {
		return nil, fmt.Errorf("the first route table: %w", err)
	}
	go g.refreshEvery(ctx, o.Duration("every"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", g.servePage)
	return mux, nil
}

// refreshEvery keeps the route table fresh until ctx ends.
func (g *gateway) refreshEvery(ctx context.Context, period time.Duration) {
	ticks := time.NewTicker(max(period, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		var err error
		if g.flawed {
			err = g.table.refresh()
		} else {
			err = g.table.replace()
		}
		if err != nil && ctx.Err() == nil {
			log.Printf("route table: %v", err)
		}
	}
}

func (g *gateway) servePage(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	for _, service := range stages {
		if _, ok := g.table.route(service); !ok {
			unavailable(w, fmt.Errorf("no route to %s", service))
			return
		}
		if err := g.stage.Call(r.Context()); err != nil {
			unavailable(w, err)
			return
		}
	}
	fmt.Fprintf(w, "page of account %d, from %d stages\n", n, len(stages))
}
