package request

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Source makes the requests of a plan, one after the other.
type Source struct {
	first, step uint64
	next        atomic.Uint64 // requests made so far
	shapes      []shape
	turns       turns
	made        tokens
}

// mostReady is how many requests are made once and kept ready; more, of a long
// target file, would take more memory than all else.
const mostReady = 1 << 10

// NewSource makes a source of requests to baseURL, "http://127.0.0.1:8080"; a
// path in it stands before the path of each request. The source's request k,
// counted from 0, has the number first + k*step: sources of one attack that
// count from 0, 1, 2 ... in as many steps share no number.
func NewSource(p Plan, baseURL string, first, step uint64) (*Source, error) {
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	if step == 0 {
		return nil, errors.New("step is 0; want 1 or more")
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	s := &Source{first: first, step: step, made: newTokens()}
	for _, t := range p.Targets {
		s.shapes = append(s.shapes, shape{
			method: t.Method, fixedURL: base + t.Path, fixedBody: t.Body, fixedHeader: t.Header,
		})
	}
	if len(p.Targets) > 0 {
		return s, s.makeReady("targets")
	}
	known := knownTo(p.Values)
	var rows []int
	for i, t := range p.Templates {
		shape, used, err := newShape(base, t, known)
		if err != nil {
			return nil, fmt.Errorf("requests[%d]: %w", i, err)
		}
		s.shapes = append(s.shapes, shape)
		rows = append(rows, used...)
	}
	s.turns = newTurns(p.Templates, rows)
	return s, s.makeReady("requests")
}

// makeReady makes what requests have in common, where that is most of them.
func (s *Source) makeReady(field string) error {
	for i := range s.shapes[:min(len(s.shapes), mostReady)] {
		sh := &s.shapes[i]
		if sh.body != nil || len(sh.fixedBody) > 0 || len(sh.header) > 0 {
			continue
		}
		var t vegeta.Target
		sh.fill(&t, s.first, s.made)
		var err error
		if sh.ready, err = t.Request(); err != nil {
			return fmt.Errorf("%s[%d]: %w", field, i, err)
		}
	}
	return nil
}

func parseBase(base string) (string, error) {
	base = strings.TrimRight(base, "/")
	switch u, err := url.Parse(base); {
	case err != nil:
		return "", err
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "", fmt.Errorf("%q: want http://host:port", base)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("%q: a query, a fragment or a password has no place in it; want http://host:port", base)
	}
	return base, nil
}

// Targeter is the source in the form vegeta takes. It may be called by several
// goroutines at once. Headers and bodies are shared between requests and must
// not be changed; vegeta copies the former and only reads the latter.
func (s *Source) Targeter() vegeta.Targeter {
	return func(t *vegeta.Target) error {
		if t == nil {
			return vegeta.ErrNilTarget
		}
		sh, n := s.take()
		sh.fill(t, n, s.made)
		return nil
	}
}

// Request is the next request, as vegeta makes it of a target. It may be called by
// several goroutines at once. Requests may be shared, and share their headers: none
// may be changed.
func (s *Source) Request() (*http.Request, error) {
	sh, n := s.take()
	switch {
	case sh.ready != nil && sh.url == nil:
		return sh.ready, nil
	case sh.ready != nil:
		return sh.readyFor(n, s.made)
	}
	var t vegeta.Target
	sh.fill(&t, n, s.made)
	return t.Request()
}

// take is the shape of the next request and its number.
func (s *Source) take() (*shape, uint64) {
	k := s.next.Add(1) - 1
	return &s.shapes[s.turn(k)], s.first + k*s.step
}

// turn is which shape request k has. Sources begin at different places of the
// order, or all would send the same request at the same time; each goes through
// the whole of it, or the proportions would hold only while all are equally fast.
func (s *Source) turn(k uint64) int {
	k += s.first
	if s.turns.order == nil {
		return int(k % uint64(len(s.shapes)))
	}
	return s.turns.at(k)
}

// shape is a request made ready to be sent many times. What is the same in every
// request is made once.
type shape struct {
	method string

	fixedURL string
	url      text // nil: fixedURL

	fixedBody []byte
	body      text // nil: fixedBody

	// fixedHeader has the headers that are always the same. Where there are
	// others it is copied.
	fixedHeader http.Header
	header      []headerText

	// ready is the whole request where it has no body and its header is always the
	// same; or nil. Its URL is that of one request, if url is not nil.
	ready *http.Request
}

type headerText struct {
	name  string // canonical
	value text
}

// newShape also returns the numbers of rows of the values the template uses.
func newShape(base string, t Template, known vocabulary) (shape, []int, error) {
	s := shape{method: t.method()}
	var rows []int
	parse := func(field, value string, where place) (text, error) {
		parsed, err := known.parse(value, where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		for _, p := range parsed {
			if p.kind == valuePiece {
				rows = append(rows, len(p.rows))
			}
		}
		return parsed, nil
	}

	path, err := parse("path", t.Path, inPath)
	if err != nil {
		return shape{}, nil, err
	}
	if path.fixed() {
		s.fixedURL = base + t.Path
	} else {
		s.url = append(text{{literal: base}}, path.encoded()...)
	}

	body, err := parse("body", t.Body, inBody)
	if err != nil {
		return shape{}, nil, err
	}
	switch {
	case !body.fixed():
		s.body = body
	case t.Body != "":
		s.fixedBody = []byte(t.Body)
	}

	s.fixedHeader = make(http.Header, len(t.Header))
	for _, name := range sortedKeys(t.Header) {
		value, err := parse("header."+name, t.Header[name], inHeader)
		if err != nil {
			return shape{}, nil, err
		}
		canonical := http.CanonicalHeaderKey(name)
		if value.fixed() {
			s.fixedHeader[canonical] = []string{t.Header[name]}
		} else {
			s.header = append(s.header, headerText{name: canonical, value: value})
		}
	}
	if t.CheckToken {
		s.header = append(s.header, headerText{name: TokenHeader, value: text{{kind: tokenPiece}}})
	}
	return s, rows, nil
}

// fill makes t request n.
func (s *shape) fill(t *vegeta.Target, n uint64, made tokens) {
	t.Method, t.URL, t.Body, t.Header = s.method, s.fixedURL, s.fixedBody, s.fixedHeader
	if s.url != nil {
		t.URL = s.url.fill(n, made)
	}
	if s.body != nil {
		t.Body = s.body.appendTo(make([]byte, 0, s.body.size(n)), n, made)
	}
	if s.header != nil {
		t.Header = s.headers(n, made)
	}
}

// readyFor is the ready request with the URL of request n.
func (s *shape) readyFor(n uint64, made tokens) (*http.Request, error) {
	u, err := url.Parse(s.url.fill(n, made))
	if err != nil {
		return nil, err
	}
	u.Host = s.ready.URL.Host // without a colon that no port follows
	r := new(http.Request)
	*r = *s.ready
	r.URL = u
	return r, nil
}

func (s *shape) headers(n uint64, made tokens) http.Header {
	h := make(http.Header, len(s.fixedHeader)+len(s.header))
	for name, values := range s.fixedHeader {
		h[name] = values
	}
	values := make([]string, len(s.header)) // one allocation for all of them
	for i, t := range s.header {
		values[i] = t.value.fill(n, made)
		h[t.name] = values[i : i+1 : i+1]
	}
	return h
}

// fill is t in request n. Most fit on the stack, so that the string is all that
// is allocated.
func (t text) fill(n uint64, made tokens) string {
	var room [256]byte
	buf := room[:0]
	if size := t.size(n); size > len(room) {
		buf = make([]byte, 0, size)
	}
	return string(t.appendTo(buf, n, made))
}
