package requests

// Span is where one request began and ended, as far as the trace saw it.
type Span struct {
	StartNS int64 `json:"start_ns"`
	EndNS   int64 `json:"end_ns"`
	// AnsweredNS is when it last began to write of its response, after which the
	// server has things of its own to do until EndNS; 0 where no write was seen.
	AnsweredNS int64 `json:"answered_ns,omitempty"`
	Goroutine  int64 `json:"goroutine"`
	// CutStart: it began before the trace. CutEnd: it outlasted it.
	CutStart bool `json:"cut_start,omitempty"`
	CutEnd   bool `json:"cut_end,omitempty"`
	// Endpoint is the name of the function that handles it.
	Endpoint string `json:"endpoint"`
}

// Spans are the requests that were kept one by one, in the order they ended in.
func (r *Recorder) Spans() []Span {
	out := make([]Span, 0, len(r.kept))
	for i := range r.kept {
		x := &r.kept[i]
		out = append(out, Span{x.start, x.end, x.answered, x.goroutine, x.flags&cutStart != 0, x.flags&cutEnd != 0, r.name(x.endpoint)})
	}
	return out
}

// Answered notes that the request has come to writing of its response. The last
// time counts.
func (o *Open) Answered(now int64) { o.answered = now }
