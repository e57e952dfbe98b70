package scenario

import "slices"

// LoadPlan is what vegeta sends: a closed loop that holds in_flight, or an open
// loop that sends at a rate, at one level or in stages.
type LoadPlan struct {
	// InFlight is the concurrency: how many requests are in flight at once. It
	// is observed, and must be reached before capture begins. A closed loop
	// holds it: a request is sent as soon as another ends. In an open loop it may
	// be left out.
	InFlight int `yaml:"in_flight" json:"in_flight,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// Rate makes an open loop: so many requests are due a second, such as 5000/s,
	// whatever becomes of them.
	Rate Rate `yaml:"rate" json:"rate,omitzero"`
	// AtMost is the most requests that an open loop has in flight. More wait, and
	// their wait counts in corrected latency. Default: in_flight, else 10000.
	AtMost int `yaml:"at_most" json:"at_most,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// Ramp is how long the load takes to grow from nothing to its level.
	// Default: 5s. In a resolved scenario it is the time from the start to the
	// level of the captured stage.
	Ramp Duration `yaml:"ramp" json:"ramp,omitempty"`
	// Hold is how long the full load stands at least. It lasts as long as the
	// capture window in any case. Default: the capture window. In a resolved
	// scenario it is that of the captured stage.
	Hold Duration `yaml:"hold" json:"hold,omitempty"`
	// Stages are the levels that the load goes through, instead of ramp and hold:
	// all with in_flight (a closed loop) or all with rate (an open one). A resolved
	// scenario always has them.
	Stages []Stage `yaml:"stages" json:"stages,omitempty"`
	// Connections are kept open, idle ones beside those in flight. HTTP/1.1: no
	// fewer than may be in flight. HTTP/2: how many carry the requests. Default:
	// as many as are needed.
	Connections int `yaml:"connections" json:"connections,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// Workers is how many processes generate the load. Default: 1.
	Workers int `yaml:"workers" json:"workers,omitempty" jsonschema:"minimum=1,maximum=64"`
	// From are the IP addresses that connections come from. Default: the kernel
	// chooses, or they are spread over 127.0.0.x where a target on loopback would
	// run out of ports.
	From []string `yaml:"from" json:"from,omitempty"`
	// Timeout is how long one request may take before the client gives it up.
	// Default: 2m.
	Timeout Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Protocol is http/1.1 or http/2; http/2 without TLS is spoken from the first
	// byte on. Default: http/1.1.
	Protocol string `yaml:"protocol" json:"protocol,omitempty"`
	// Engine is the HTTP client: lean, which speaks HTTP/1.1 without TLS and takes
	// the least CPU, or net/http. Default: lean where it can.
	Engine string `yaml:"engine" json:"engine,omitempty"`
	// Requests are sent in turn, by weight. Default: GET /.
	Requests []Request `yaml:"requests" json:"requests,omitempty"`
	// Targets is a file of targets as vegeta reads them, in HTTP or JSON format,
	// sent in turn instead of requests. It is relative to the scenario file.
	Targets string `yaml:"targets" json:"targets,omitempty"`
	// Values are files that requests take values from, by name. With {user:
	// users.txt, item: items.csv}, {user} becomes a line of the first, {item.id} a
	// field of the column id of the second. They are relative to the scenario file.
	Values map[string]string `yaml:"values" json:"values,omitempty"`
	// Clients are those that behave badly, by their share of all requests. The
	// others behave well. Default: none.
	Clients []Client `yaml:"clients" json:"clients,omitempty"`
	// Results says which raw results are kept, in vegeta's encoding: whole, sampled
	// or none. Default: sampled.
	Results string `yaml:"results" json:"results,omitempty"`
	// Process are the limits of each process that generates load.
	Process Process `yaml:"process" json:"process,omitzero"`
}

// Stage is one level of the load: the way to it and how long it stands.
type Stage struct {
	// InFlight is the level of a closed loop.
	InFlight int `yaml:"in_flight" json:"in_flight,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// Rate is the level of an open loop.
	Rate Rate `yaml:"rate" json:"rate,omitzero"`
	// Ramp is how long the load takes to go from the level before, at first
	// nothing, to this one. Default: 0s, a step.
	Ramp Duration `yaml:"ramp" json:"ramp,omitempty"`
	// Hold is how long the level stands. Default: the capture window for the
	// captured stage, 0s for the others. The last stage stands until the window
	// is over.
	Hold Duration `yaml:"hold" json:"hold,omitempty"`
	// Capture begins the capture window here, as soon as the level is reached; its
	// hold counts from then. Later stages go on by the clock, even while the
	// window is open. Default: the last stage.
	Capture bool `yaml:"capture" json:"capture,omitempty"`
}

// Request is one kind of request. In path, header values and body {seq}
// becomes the number of the request, from 0, {token} a text that no other
// request carries, {name} a value of the .txt file that values names so, and
// {name.column} one of the .csv file.
type Request struct {
	// Method is the HTTP method. Default: GET.
	Method string `yaml:"method" json:"method,omitempty"`
	// Path is the path and query, from "/" on.
	Path string `yaml:"path" json:"path" jsonschema:"required"`
	// Header is sent with each request.
	Header map[string]string `yaml:"header" json:"header,omitempty"`
	// Body is sent with each request.
	Body string `yaml:"body" json:"body,omitempty"`
	// Weight is this request's share, against the weights of the others.
	// Default: 1.
	Weight int `yaml:"weight" json:"weight,omitempty" jsonschema:"minimum=1,maximum=1000"`
	// Check compares each response with its request. Default: no check.
	Check Check `yaml:"check" json:"check,omitzero"`
}

// Check says what is compared between a response and its request.
type Check struct {
	// Token demands that a response holds the {token} of its request and that of
	// no other. The request also carries it in the header X-Request-Token.
	Token bool `yaml:"token" json:"token,omitempty"`
}

// Client is one kind of client that behaves badly, in exactly one way.
type Client struct {
	// Share is how many of all requests such a client sends, such as 2%. All
	// shares together are at most 100%.
	Share Share `yaml:"share" json:"share" jsonschema:"required"`
	// Reads is how fast it reads the response, such as 1KiB/s.
	Reads ByteRate `yaml:"reads" json:"reads,omitempty"`
	// StopsReadingAfter is how much of the response it reads before it stops and
	// keeps the connection open until its timeout, such as 4KiB.
	StopsReadingAfter Size `yaml:"stops_reading_after" json:"stops_reading_after,omitempty"`
	// Sends is how fast it sends the body of its request, such as 100B/s.
	Sends ByteRate `yaml:"sends" json:"sends,omitempty"`
	// HangsUpAfter is how long after sending it closes the connection, unless the
	// response has ended by then, such as 50ms.
	HangsUpAfter Duration `yaml:"hangs_up_after" json:"hangs_up_after,omitempty"`
}

// Process are the limits of one process that generates load. What is left out
// is up to the harness.
type Process struct {
	// GOMAXPROCS is how many CPUs its Go code uses at once.
	GOMAXPROCS int `yaml:"gomaxprocs" json:"gomaxprocs,omitempty" jsonschema:"minimum=1,maximum=1024"`
	// GOGC is how much its heap grows between collections, in percent.
	GOGC int `yaml:"gogc" json:"gogc,omitempty" jsonschema:"minimum=1,maximum=10000"`
	// Memory is its soft memory limit (GOMEMLIMIT), such as 160MiB.
	Memory Size `yaml:"memory" json:"memory,omitempty"`
	// CPUs are the CPUs it may run on, as taskset -c takes them: "0", "0-2,5".
	CPUs CPUSet `yaml:"cpus" json:"cpus,omitempty"`
}

// Protocols of a load plan.
const (
	HTTP1 = "http/1.1"
	HTTP2 = "http/2"
)

// Engines of a load plan.
const (
	EngineLean    = "lean"
	EngineNetHTTP = "net/http"
)

// What a load plan may say of raw results.
const (
	ResultsWhole   = "whole"
	ResultsSampled = "sampled"
	ResultsNone    = "none"
)

// Open reports whether the loop is open: requests are due by the clock.
func (l LoadPlan) Open() bool {
	if len(l.Stages) > 0 {
		return l.Stages[0].Rate != 0
	}
	return l.Rate != 0
}

// Captured is the index of the stage in which the window begins; -1 without
// stages.
func (l LoadPlan) Captured() int {
	if i := slices.IndexFunc(l.Stages, func(s Stage) bool { return s.Capture }); i >= 0 {
		return i
	}
	return len(l.Stages) - 1
}

// Peak is the most requests that may be in flight at once: the highest level
// of a closed loop, at_most of an open one. It is that of a resolved plan.
func (l LoadPlan) Peak() int {
	if l.Open() {
		return l.AtMost
	}
	most := l.InFlight
	for _, s := range l.Stages {
		most = max(most, s.InFlight)
	}
	return most
}

// Behaviour says what the client does, as the scenario says it: "reads 1KiB/s".
func (c Client) Behaviour() string {
	switch {
	case c.Reads != 0:
		return "reads " + c.Reads.String()
	case c.StopsReadingAfter != 0:
		return "stops reading after " + c.StopsReadingAfter.String()
	case c.Sends != 0:
		return "sends " + c.Sends.String()
	}
	return "hangs up after " + c.HangsUpAfter.String()
}
