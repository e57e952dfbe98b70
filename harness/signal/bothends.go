package signal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"chokepoint/harness/bundle"
	"chokepoint/harness/bundle/latency"
	"chokepoint/harness/signal/gotrace"
	"chokepoint/harness/signal/pairs"
	"chokepoint/harness/signal/requests"
)

// BothEnds compares single requests as the client saw them with the same ones as
// the trace shows them; package pairs says how they are found. The client's side
// is what ended in the load's window.
type BothEnds struct {
	// Missing says why nothing was compared.
	Missing string `json:"missing,omitempty"`
	// OneIn is how many requests of the client there were to each whose result was
	// kept: 1 for all of them. Others are found by their connection alone.
	OneIn float64 `json:"one_in"`
	// Client and Served are the requests of both sides that had an end inside the
	// trace, and what became of them.
	Client Matched `json:"client"`
	Served Matched `json:"served"`
	// ByConnection and ByTime are how many pairs were found how, and Sure how many
	// of ByTime could be no other.
	ByConnection int `json:"by_connection"`
	ByTime       int `json:"by_time"`
	Sure         int `json:"sure"`
	// Before is from when the client was about to send a request until the server's
	// goroutine was woken for it: in the client, on the way, in the socket's queue, and
	// until the runtime looked. After is from when the server began to write
	// the last of the response until the client had all of it. Of requests that began
	// before the trace there is no Before, and of those that outlasted it no After; nor
	// is there of pairs that are not sure.
	Before Times `json:"before"`
	After  Times `json:"after"`
	// Of the pairs that lie in the trace whole: how long the request was at the
	// client, how long in the trace, and the difference of each pair.
	AtClient Times `json:"at_client"`
	AtServer Times `json:"at_server"`
	Longer   Times `json:"longer"`
	// Bands is Before by the bands of the table, in their order.
	Bands []BandBefore `json:"bands,omitempty"`
}

// Matched says what became of the requests of one side. Where the client's are a
// sample, the server's are those of them alone that were found.
type Matched struct {
	Requests int `json:"requests"`
	Paired   int `json:"paired"`
	// Those that are not paired: they began before the trace, or outlasted it, and
	// their other end is not known; or the client had no response; or nothing fits.
	BeganBefore int `json:"began_before"`
	Outlasted   int `json:"outlasted"`
	NoResponse  int `json:"no_response"`
	NoneFits    int `json:"none_fits"`
	// Throughout is how many had no end in the trace. They are not in Requests.
	Throughout int `json:"throughout"`
}

// Times describes times of single requests, in ns. The quantiles are the smallest
// value that so many are not above.
type Times struct {
	Count  int   `json:"count"`
	MeanNS int64 `json:"mean_ns"`
	P50NS  int64 `json:"p50_ns"`
	P90NS  int64 `json:"p90_ns"`
	P99NS  int64 `json:"p99_ns"`
	MaxNS  int64 `json:"max_ns"`
}

// BandBefore is the time before the server saw the requests of one band.
type BandBefore struct {
	Name string `json:"name"`
	Times
}

func timesOf(ns []int64) Times {
	if len(ns) == 0 {
		return Times{}
	}
	slices.Sort(ns)
	at := func(percent int) int64 { return ns[(percent*len(ns)+99)/100-1] }
	t := Times{Count: len(ns), P50NS: at(50), P90NS: at(90), P99NS: at(99), MaxNS: ns[len(ns)-1]}
	var sum float64
	for _, x := range ns {
		sum += float64(x)
	}
	t.MeanNS = int64(sum / float64(len(ns)))
	return t
}

// paired is the outcome of matching, of which a table takes its part.
type paired struct {
	client []latency.Request
	served []requests.Span
	pairs  []pairs.Pair
	peers  map[int64]string
	oneIn  float64
}

func (e *evidence) paired() (*paired, error) {
	return once(e, "both ends", func() (*paired, error) {
		s, err := e.trace()
		if err != nil {
			return nil, err
		}
		c := s.Served.Counts()
		switch {
		case c.Requests == 0:
			return nil, errors.New("no requests of a known server in the trace")
		case c.KeptOneIn > 1:
			return nil, fmt.Errorf("the trace has %d requests, more than are kept one by one", c.Requests)
		}
		p := &paired{served: s.Served.Spans(), peers: e.peers()}
		if p.client, p.oneIn, err = e.results(); err != nil {
			return nil, err
		}
		trace := bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS}
		switch {
		case p.oneIn == 1:
			p.pairs = pairs.Of(p.client, p.served, trace, p.peers)
		case len(p.peers) > 0:
			p.pairs = pairs.OnConnections(p.client, p.served, trace, p.peers)
		default:
			return nil, fmt.Errorf("%s has one in %.0f of the requests that ended in the window, and whose connection each goroutine served was not captured (load.results: whole, or capture.ebpf with net, would tell)", bundle.LoadResults, p.oneIn)
		}
		return p, nil
	})
}

// resultsWhole is the share of the requests ended in the window of which there must
// be results to count as all: a few are dropped where the disk is slow.
const resultsWhole = 0.95

// results are the single requests of the client, and how many there were to each.
func (e *evidence) results() ([]latency.Request, float64, error) {
	l, err := e.load()
	if err != nil {
		return nil, 0, err
	}
	data, err := e.bundle.ReadFile(bundle.LoadResults)
	if err != nil {
		return nil, 0, missing(e.manifest, bundle.DimLoad, bundle.LoadResults, err)
	}
	all, err := latency.ReadResults(bytes.NewReader(data), e.manifest.Clock)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w: %w", bundle.LoadResults, bundle.ErrDamaged, err)
	case len(all) == 0:
		return nil, 0, fmt.Errorf("%s has none of the %d requests that ended in the window", bundle.LoadResults, l.Requests.Ended)
	case float64(len(all)) < resultsWhole*float64(l.Requests.Ended):
		return all, float64(l.Requests.Ended) / float64(len(all)), nil
	}
	return all, 1, nil
}

// bothEnds compares the requests of a table, which takes those of one endpoint or all.
func (e *evidence) bothEnds(s *gotrace.Summary, endpoint string, t requests.Table) BothEnds {
	p, err := e.paired()
	if err != nil {
		return BothEnds{Missing: err.Error()}
	}
	trace := bundle.Window{StartNS: s.StartNS, EndNS: s.EndNS}
	b := BothEnds{OneIn: p.oneIn}
	var before, after, atClient, atServer, longer []int64
	inBand := make([][]int64, len(t.Bands))
	clientOf, servedOf := make([]bool, len(p.client)), make([]bool, len(p.served))
	for _, x := range p.pairs {
		clientOf[x.Client], servedOf[x.Served] = true, true
		c, s := p.client[x.Client], p.served[x.Served]
		if endpoint != "" && s.Endpoint != endpoint {
			continue
		}
		if p.peers[s.Goroutine] != "" && c.Local != "" {
			b.ByConnection++
		} else {
			b.ByTime++
			if x.Sure {
				b.Sure++
			}
		}
		if !s.CutStart {
			ns := s.StartNS - c.StartNS
			before = append(before, ns)
			for i, band := range t.Bands {
				if length := s.EndNS - s.StartNS; band.MinNS <= length && length <= band.MaxNS {
					inBand[i] = append(inBand[i], ns)
				}
			}
		}
		// Ends follow each other so closely that one request taken for another would be
		// most of what is told of them; those that are sure tell no less.
		if x.Sure && s.AnsweredNS != 0 && !s.CutEnd {
			after = append(after, c.EndNS-s.AnsweredNS)
		}
		if !s.CutStart && !s.CutEnd {
			atClient = append(atClient, c.EndNS-c.StartNS)
			atServer = append(atServer, s.EndNS-s.StartNS)
			longer = append(longer, (c.EndNS-c.StartNS)-(s.EndNS-s.StartNS))
		}
	}
	for i, s := range p.served {
		if (endpoint == "" || s.Endpoint == endpoint) && (p.oneIn == 1 || servedOf[i]) {
			b.Served.add(s.CutStart, s.CutEnd || !pairs.HasEnd(s), false, servedOf[i])
		}
	}
	for i, c := range p.client {
		if pairs.Scope(c, trace) != pairs.Outside {
			b.Client.add(c.StartNS <= trace.StartNS, c.EndNS >= trace.EndNS, c.NoResponse, clientOf[i])
		}
	}
	b.Before, b.After, b.AtClient, b.AtServer, b.Longer = timesOf(before), timesOf(after), timesOf(atClient), timesOf(atServer), timesOf(longer)
	for i, band := range t.Bands {
		b.Bands = append(b.Bands, BandBefore{band.Name, timesOf(inBand[i])})
	}
	return b
}

func (m *Matched) add(beganBefore, outlasted, noResponse, paired bool) {
	if beganBefore && outlasted {
		m.Throughout++
		return
	}
	m.Requests++
	switch {
	case paired:
		m.Paired++
	case noResponse:
		m.NoResponse++
	case beganBefore:
		m.BeganBefore++
	case outlasted:
		m.Outlasted++
	default:
		m.NoneFits++
	}
}

// peers are the clients' ends of connections by the goroutine that serves them;
// nil where that was not captured.
func (e *evidence) peers() map[int64]string {
	doc, err := document[bundle.Peers](e, bundle.DimEBPF, bundle.EBPFPeers)
	if err != nil {
		return nil
	}
	peers := make(map[int64]string, len(doc.Goroutines))
	for _, g := range doc.Goroutines {
		peers[g.GoID] = g.Address
	}
	return peers
}
