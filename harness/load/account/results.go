package account

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"chokepoint/harness/bundle/latency"
)

// SampleEvery is how many requests there are to one kept result when results are
// sampled.
const SampleEvery = 100

// The ways to keep results.
const (
	ResultsWhole   = "whole"   // each
	ResultsSampled = "sampled" // one in SampleEvery, by a hash of its number
	ResultsNone    = "none"
)

// resultQueue is how many results may wait to be written; it rides out a stall
// of the disk of a second or two at 10,000 requests a second, in about 4 MiB.
const resultQueue = 1 << 14

// Results writes results as latency.Result has them, which `vegeta report` reads. An
// attack never waits for it: what its queue cannot take is dropped and counted.
type Results struct {
	out   io.Writer
	base  time.Time
	every uint64 // 0: none

	queue chan Exchange
	ended chan struct{}
	once  sync.Once

	// Valid once ended is closed.
	written, lost int64
	err           error
}

// NewResults begins to write to w. mode is one of the ways to keep results, or
// empty, which is whole; base is that of the Recorder.
func NewResults(w io.Writer, base time.Time, mode string) (*Results, error) {
	r := &Results{out: w, base: base, ended: make(chan struct{})}
	switch mode {
	case "", ResultsWhole:
		r.every = 1
	case ResultsSampled:
		r.every = SampleEvery
	case ResultsNone:
		close(r.ended)
		return r, nil
	default:
		return nil, fmt.Errorf("account: results %q; want %s, %s or %s", mode, ResultsWhole, ResultsSampled, ResultsNone)
	}
	r.queue = make(chan Exchange, resultQueue)
	go r.write()
	return r, nil
}

// Keeps reports whether the result of request seq is one of those to be kept, so
// that the others need not say what they asked for.
func (r *Results) Keeps(seq uint64) bool {
	return r.every == 1 || r.every > 1 && scatter(seq)%r.every == 0
}

// Add queues a result if it is one of those to be kept; false means that the
// queue was full and it was dropped. It does not wait. There must be none after
// Close.
func (r *Results) Add(x Exchange) bool {
	if !r.Keeps(x.Seq) {
		return true
	}
	select {
	case r.queue <- x:
		return true
	default:
		return false
	}
}

// scatter spreads numbers that follow each other over all of 64 bits, so that a
// sample does not beat with whatever is periodic in the order of requests: the
// finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014).
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// Close waits until everything queued is written. It returns how many results
// were, and how many were queued and could not be, with the reason.
func (r *Results) Close() (written, lost int64, err error) {
	r.once.Do(func() {
		if r.queue != nil {
			close(r.queue)
		}
	})
	<-r.ended
	return r.written, r.lost, r.err
}

func (r *Results) write() {
	defer close(r.ended)
	out := bufio.NewWriterSize(r.out, 1<<18)
	encode := gob.NewEncoder(out)
	for x := range r.queue {
		if r.err == nil {
			r.err = encode.Encode(r.result(&x))
		}
		if r.err != nil {
			r.lost++
			continue
		}
		r.written++
	}
	if err := out.Flush(); r.err == nil {
		r.err = err
	}
	if r.err != nil {
		r.err = fmt.Errorf("account: write results: %w", r.err)
	}
}

func (r *Results) result(x *Exchange) *latency.Result {
	out := &latency.Result{
		Seq:       x.Seq,
		Code:      uint16(x.Code),
		Timestamp: r.base.Add(time.Duration(x.Sent)),
		Latency:   time.Duration(x.ServiceNS()),
		BytesOut:  uint64(x.BytesOut),
		BytesIn:   uint64(x.BytesIn),
		Error:     x.Failure,
		Method:    x.Method,
		URL:       x.URL,
		Local:     x.Local,
	}
	if x.Failure == "" && !x.OK() {
		out.Error = strconv.Itoa(x.Code) + " " + http.StatusText(x.Code)
	}
	return out
}
