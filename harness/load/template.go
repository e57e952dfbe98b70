package load

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	seqPlaceholder   = "{seq}"
	tokenPlaceholder = "{token}"
)

var (
	anyPlaceholder = regexp.MustCompile(`\{[A-Za-z_]+\}`)
	placeholder    = regexp.MustCompile(`\{(?:seq|token)\}`)
)

// unknownPlaceholder is the first word in braces in s that stands for nothing.
func unknownPlaceholder(s string) string {
	for _, found := range anyPlaceholder.FindAllString(s, -1) {
		if !placeholder.MatchString(found) {
			return found
		}
	}
	return ""
}

// template is a text with placeholders: literal, placeholder, literal, ...
type template struct {
	parts []string // placeholders stand as such
	fixed bool     // no placeholder at all
}

func parseTemplate(s string) template {
	found := placeholder.FindAllStringIndex(s, -1)
	t := template{fixed: len(found) == 0}
	from := 0
	for _, at := range found {
		if at[0] > from {
			t.parts = append(t.parts, s[from:at[0]])
		}
		t.parts = append(t.parts, s[at[0]:at[1]])
		from = at[1]
	}
	if from < len(s) {
		t.parts = append(t.parts, s[from:])
	}
	return t
}

func (t template) has(name string) bool {
	for _, part := range t.parts {
		if part == name {
			return true
		}
	}
	return false
}

func (t template) expand(seq uint64, token string) string {
	if t.fixed {
		return strings.Join(t.parts, "")
	}
	var out strings.Builder
	for _, part := range t.parts {
		switch part {
		case seqPlaceholder:
			out.WriteString(strconv.FormatUint(seq, 10))
		case tokenPlaceholder:
			out.WriteString(token)
		default:
			out.WriteString(part)
		}
	}
	return out.String()
}

// shape is a Request made ready to be sent many times.
type shape struct {
	method string
	url    template
	body   template
	header map[string]template
	// fixedHeader is used when no header differs between requests; vegeta
	// copies it.
	fixedHeader http.Header
	token       bool // some part needs the token
	check       bool
}

func newShape(base string, r Request) shape {
	s := shape{
		method: r.method(),
		url:    parseTemplate(base + r.Path),
		body:   parseTemplate(r.Body),
		check:  r.Check.Token,
	}
	s.token = s.check || s.url.has(tokenPlaceholder) || s.body.has(tokenPlaceholder)
	fixed := !s.check
	s.header = make(map[string]template, len(r.Header))
	for name, value := range r.Header {
		t := parseTemplate(value)
		s.header[http.CanonicalHeaderKey(name)] = t
		s.token = s.token || t.has(tokenPlaceholder)
		fixed = fixed && t.fixed
	}
	if fixed {
		s.fixedHeader = s.headers(0, "")
	}
	return s
}

func (s shape) headers(seq uint64, token string) http.Header {
	h := make(http.Header, len(s.header)+1)
	for name, value := range s.header {
		h[name] = []string{value.expand(seq, token)}
	}
	if s.check {
		h[TokenHeader] = []string{token}
	}
	return h
}

// newTargeter makes vegeta's source of requests.
func newTargeter(c Config) vegeta.Targeter {
	shapes := make([]shape, len(c.Requests))
	for i, r := range c.Requests {
		shapes[i] = newShape(c.BaseURL, r)
	}
	turns := turnsOf(c.Requests)
	made := newTokens()
	var last atomic.Uint64
	return func(t *vegeta.Target) error {
		seq := last.Add(1)
		s := &shapes[turns[seq%uint64(len(turns))]]
		var token string
		if s.token {
			token = string(made.token(seq))
		}
		t.Method = s.method
		t.URL = s.url.expand(seq, token)
		if len(s.body.parts) > 0 {
			t.Body = []byte(s.body.expand(seq, token))
		}
		if s.fixedHeader != nil {
			t.Header = s.fixedHeader
		} else {
			t.Header = s.headers(seq, token)
		}
		return nil
	}
}

// turnsOf is an order of requests in which each occurs in proportion to its
// weight and as evenly spread as can be.
func turnsOf(requests []Request) []int {
	total, divisor := 0, 0
	for _, r := range requests {
		total += r.weight()
		divisor = gcd(divisor, r.weight())
	}
	total /= divisor
	turns := make([]int, total)
	credit := make([]int, len(requests))
	for i := range turns {
		best, most := 0, math.MinInt
		for j, r := range requests {
			credit[j] += r.weight() / divisor
			if credit[j] > most {
				best, most = j, credit[j]
			}
		}
		credit[best] -= total
		turns[i] = best
	}
	return turns
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
