package account

import "chokepoint/harness/bundle"

// Schema is the version of an Account's wire form.
const Schema = 1

// Account is all of one attack's figures, of one process or merged of several. It
// travels as JSON, with each histogram in base64 of HdrHistogram's V2 compressed
// encoding.
type Account struct {
	Schema int `json:"schema"`
	// StartNS is when the attack began, by CLOCK_MONOTONIC; WallNS is the same
	// moment in Unix time.
	StartNS int64 `json:"start_ns"`
	WallNS  int64 `json:"wall_ns"`

	Window Window `json:"window"`
	// Stages has one entry for each stage of the load, over the whole attack.
	Stages []Stage `json:"stages"`
	// Clients has one entry for each kind of badly behaved client, over the window.
	Clients []Client `json:"clients,omitempty"`
	// Seconds are the whole seconds of the attack.
	Seconds Seconds `json:"seconds,omitempty"`
}

// Window is what was measured over the window; the zero value says that there was
// none.
type Window struct {
	StartNS int64 `json:"start_ns"` // CLOCK_MONOTONIC
	EndNS   int64 `json:"end_ns"`
	// InFlightNS is the integral of in flight over ObservedNS, in requests x ns.
	InFlightNS int64 `json:"in_flight_ns"`
	ObservedNS int64 `json:"observed_ns"`
	CPUNS      int64 `json:"cpu_ns"` // CPU time of the process

	InFlightAtStart int `json:"in_flight_at_start"`
	InFlightMin     int `json:"in_flight_min"`
	InFlightMax     int `json:"in_flight_max"`
	SocketsAtStart  int `json:"sockets_at_start"`
	SocketsMin      int `json:"sockets_min"`
	SocketsMax      int `json:"sockets_max"`

	Sent    int64             `json:"sent"`
	Ended   int64             `json:"ended"`
	OK      int64             `json:"ok"`
	ByCode  map[int]int64     `json:"by_code,omitempty"`
	ByError map[string]int64  `json:"by_error,omitempty"`
	Checks  bundle.LoadChecks `json:"checks"`
	Dropped int64             `json:"dropped"` // results not recorded

	Bytes     Histogram `json:"bytes"` // of response bodies
	Service   Histogram `json:"service_us"`
	Corrected Histogram `json:"corrected_us"`
	SendLag   Histogram `json:"send_lag_us"`
	OwnLag    Histogram `json:"own_lag_us"`
}

// Stage is what became of the requests that were due in one stage.
type Stage struct {
	Sent      int64     `json:"sent"`
	Ended     int64     `json:"ended"`
	Errors    int64     `json:"errors"`
	Service   Histogram `json:"service_us"`
	Corrected Histogram `json:"corrected_us"`
}

// Client is one kind of badly behaved client.
type Client struct {
	Behaviour string           `json:"behaviour"`
	Ended     int64            `json:"ended"`
	ByError   map[string]int64 `json:"by_error,omitempty"` // the target's doing, not the client's
	InFlight  Histogram        `json:"in_flight_us"`       // how long each was
}

// Account is the account as it stands.
func (r *Recorder) Account() Account {
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := Account{
		Schema:  Schema,
		StartNS: r.baseMono + r.began,
		WallNS:  r.base.UnixNano() + r.began,
		Window:  r.window(),
		Stages:  make([]Stage, len(r.stages)),
		Seconds: append([]Second(nil), r.seconds[:r.put.done]...),
	}
	for i, s := range r.stages {
		a.Stages[i] = Stage{Sent: s.sent, Ended: s.ended, Errors: s.errors}
		if s.times != nil {
			a.Stages[i].Service, a.Stages[i].Corrected = s.times.service.histogram(), s.times.corrected.histogram()
		}
	}
	for i, c := range r.clients {
		a.Clients = append(a.Clients, Client{
			Behaviour: r.cfg.Behaviours[i], Ended: c.ended, ByError: sumOf(c.failures), InFlight: c.inFlight.histogram(),
		})
	}
	return a
}

func (r *Recorder) window() Window {
	w := &r.win
	if !w.open && !w.closed {
		return Window{}
	}
	out := Window{
		StartNS:    r.baseMono + w.start,
		InFlightNS: w.area, ObservedNS: w.observed, CPUNS: w.cpu,
		InFlightAtStart: w.inFlightAtStart, InFlightMin: w.inFlightMin, InFlightMax: w.inFlightMax,
		SocketsAtStart: w.socketsAtStart, SocketsMin: w.socketsMin, SocketsMax: w.socketsMax,
		Sent: w.sent, Ended: w.ended, OK: w.ok,
		ByError: sumOf(w.failures),
		Checks:  w.checks, Dropped: w.dropped,
		Bytes: w.bytes.histogram(), Service: w.times.service.histogram(), Corrected: w.times.corrected.histogram(),
		SendLag: w.sendLag.histogram(), OwnLag: w.ownLag.histogram(),
	}
	if w.closed {
		out.EndNS = r.baseMono + w.end
	}
	codes := map[int]int64{}
	for code, n := range w.codes {
		if n > 0 {
			codes[code] = n
		}
	}
	out.ByCode = sumOf(codes)
	return out
}
