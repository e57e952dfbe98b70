// Bookings is a theatre's box office. GET /book?show=N&seat=M holds a seat, which
// takes a few seconds of waiting for the payment service, and answers with the
// booking.
//
// It has two flaws at once, as servers do: the seating plan is locked while a
// neighbouring box office confirms a seat, and each booking leaves a goroutine
// behind that waits for a cancellation.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

func main() { kit.Run(service()) }

func service() kit.Service {
	return kit.Service{
		About: "a theatre's box office: GET /book?show=N&seat=M",
		Knobs: map[string]string{
			"delay":   "2500ms", // the payment service
			"confirm": "10ms",   // the neighbouring box office
		},
		Build: build,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	office := &boxOffice{
		plan:     &seatingPlan{confirm: o.Duration("confirm"), taken: map[seat]int{}},
		payments: kit.NewDependency(ctx, o.Duration("delay")),
		closing:  ctx.Done(),
		flawed:   o.Flawed(),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /book", office.book)
	return mux, nil
}

type seat struct{ show, number int }

// seatingPlan knows how often each seat was asked for.
type seatingPlan struct {
	confirm time.Duration

	mu    sync.Mutex
	taken map[seat]int
}

// hold takes a seat. The plan is locked until the neighbour has confirmed it, so
// that nobody else takes the same one meanwhile.
func (p *seatingPlan) hold(s seat) int {
	p.mu.Lock() // chokepoint:flaw lock-contention
	defer p.mu.Unlock()
	time.Sleep(p.confirm)
	p.taken[s]++
	return p.taken[s]
}

// claim takes a seat first and asks the neighbour afterwards: who comes second
// finds it taken.
func (p *seatingPlan) claim(s seat) int {
	p.mu.Lock()
	p.taken[s]++
	n := p.taken[s]
	p.mu.Unlock()
	time.Sleep(p.confirm)
	return n
}

type boxOffice struct {
	plan     *seatingPlan
	payments *kit.Dependency
	closing  <-chan struct{}
	flawed   bool
}

// booking can be cancelled until it is paid for.
type booking struct {
	seat      seat
	holders   int
	cancelled chan struct{}
}

// await frees the seat if the booking is cancelled.
func (b *booking) await(p *seatingPlan, over <-chan struct{}) {
	select {
	case <-b.cancelled:
		p.mu.Lock()
		p.taken[b.seat]--
		p.mu.Unlock()
	case <-over:
	}
}

func (o *boxOffice) book(w http.ResponseWriter, r *http.Request) {
	show, err := strconv.Atoi(r.FormValue("show"))
	number, err2 := strconv.Atoi(r.FormValue("seat"))
	if err != nil || err2 != nil {
		http.Error(w, "show and seat must be numbers", http.StatusBadRequest)
		return
	}
	b := &booking{seat: seat{show, number % 1000}, cancelled: make(chan struct{})}
	if o.flawed {
		b.holders = o.plan.hold(b.seat)
		go b.await(o.plan, o.closing) // chokepoint:flaw goroutine-leak
	} else {
		b.holders = o.plan.claim(b.seat)
		paid := make(chan struct{})
		defer close(paid)
		go b.await(o.plan, paid)
	}
	if err := o.payments.Call(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "seat %d of show %d, wanted %d times\n", b.seat.number, b.seat.show, b.holders)
}
