package request

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Bounds of a Plan, to catch a slip of the keyboard before it hurts.
const (
	maxTemplates = 1000
	maxWeight    = 10_000
	maxTurns     = 100_000
)

// Plan is what is sent: Templates with their Values, or Targets.
type Plan struct {
	// Templates are sent in turn, in proportion to their weights.
	Templates []Template `json:"requests,omitempty"`
	// Values are what placeholders in the templates stand for.
	Values []Values `json:"values,omitempty"`
	// Targets are sent in turn, instead of templates.
	Targets []Target `json:"targets,omitempty"`
}

// Template is a request with placeholders in Path, in the values of Header and
// in Body.
type Template struct {
	Method string            `json:"method,omitempty"` // GET when empty
	Path   string            `json:"path"`             // with the query: "/session?id={seq}"
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
	Weight int               `json:"weight,omitempty"` // 1 when 0
	// CheckToken: the body of the response must hold the request's own token
	// and no other. The token also travels in the header TokenHeader.
	CheckToken bool `json:"check_token,omitempty"`
}

// ChecksTokens reports whether some response is to be looked through for tokens:
// the response to each request that carries TokenHeader. In a plan that checks
// none, such a header is the user's own and means nothing here.
func (p Plan) ChecksTokens() bool {
	return slices.ContainsFunc(p.Templates, func(t Template) bool { return t.CheckToken })
}

// Validate reports every mistake in the plan, each with the field it stands in.
func (p Plan) Validate() error {
	var errs []error
	switch {
	case len(p.Templates) == 0 && len(p.Targets) == 0:
		errs = append(errs, errors.New("requests: there is none; want at least one, or a target file"))
	case len(p.Templates) > 0 && len(p.Targets) > 0:
		errs = append(errs, errors.New("targets: a target file stands in the place of requests; remove one of the two"))
	case len(p.Targets) > 0 && len(p.Values) > 0:
		errs = append(errs, errors.New("values: the requests of a target file have no placeholders; remove the values"))
	case len(p.Templates) > maxTemplates:
		errs = append(errs, fmt.Errorf("requests: there are %d; want at most %d", len(p.Templates), maxTemplates))
	}
	if wrong := validateValues(p.Values); len(wrong) > 0 {
		return errors.Join(append(errs, wrong...)...) // requests cannot be read without
	}
	known := knownTo(p.Values)
	weights := true
	for i, t := range p.Templates {
		field := fmt.Sprintf("requests[%d]", i)
		errs = append(errs, t.validate(field, known, p.ChecksTokens())...)
		weights = weights && t.Weight >= 0 && t.Weight <= maxWeight
	}
	if n := turnCount(p.Templates); weights && n > maxTurns {
		errs = append(errs, fmt.Errorf("requests: the weights add up to %d (divided by what they have in common); want at most %d: use rounder weights", n, maxTurns))
	}
	for i, t := range p.Targets {
		if err := t.validate(); err != nil {
			errs = append(errs, fmt.Errorf("targets[%d].%w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (t Template) method() string {
	if t.Method == "" {
		return http.MethodGet
	}
	return t.Method
}

func (t Template) weight() int {
	if t.Weight == 0 {
		return 1
	}
	return t.Weight
}

// validate reports the mistakes in a template; checking is whether some template
// of the plan checks tokens.
func (t Template) validate(field string, known vocabulary, checking bool) []error {
	var errs []error
	bad := func(where, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %w", field, where, fmt.Errorf(format, args...)))
	}
	if err := validMethod(t.method()); err != nil {
		bad("method", "%w", err)
	}
	if t.Weight < 0 || t.Weight > maxWeight {
		bad("weight", "is %d; want 1 to %d", t.Weight, maxWeight)
	}
	if t.CheckToken && t.method() == http.MethodHead {
		bad("check_token", "the response to HEAD has no body to look in; use GET, or leave the check out")
	}

	path, err := known.parse(t.Path, inPath)
	if err != nil {
		bad("path", "%w", err)
	} else if err := validPath(path.sample()); err != nil {
		bad("path", "%w", err)
	}
	if _, err := known.parse(t.Body, inBody); err != nil {
		bad("body", "%w", err)
	}

	seen := map[string]string{} // by canonical name
	for _, name := range sortedKeys(t.Header) {
		canonical := http.CanonicalHeaderKey(name)
		if first, twice := seen[canonical]; twice {
			bad("header."+name, "is the same header as %s; remove one of the two", first)
		}
		seen[canonical] = name
		if canonical == TokenHeader && checking {
			bad("header."+name, "carries the token where tokens are checked; use another name")
		}
		value := t.Header[name]
		parsed, err := known.parse(value, inHeader)
		if err == nil {
			err = validHeader(name, value)
		}
		if err == nil {
			err = parsed.validInHeader()
		}
		if err == nil && canonical == "Host" {
			err = validHost(parsed.sample())
		}
		if err != nil {
			bad("header."+name, "%w", err)
		}
	}
	return errs
}

func validMethod(method string) error {
	switch {
	case method == http.MethodConnect:
		return errors.New("CONNECT asks for a tunnel, which is not made here; use another method")
	case !httpguts.ValidHeaderFieldName(method): // both are tokens, RFC 9110
		return fmt.Errorf("%q is not valid; want one word such as GET", method)
	}
	return nil
}

// validPath says what is wrong with a path and query, placeholders replaced.
func validPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q must begin with /", path)
	}
	if strings.Contains(path, " ") {
		return fmt.Errorf("%q holds a space; write %%20", path)
	}
	if strings.Contains(path, "#") {
		return fmt.Errorf("%q holds a #, after which nothing is sent; write %%23", path)
	}
	if _, err := http.NewRequest(http.MethodGet, "http://host"+path, nil); err != nil {
		return err
	}
	return nil
}

func validHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is not valid as the name of a header; want letters, digits and -", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("value %q is not valid in a header; want no line breaks or other control characters", value)
	}
	return nil
}

func validHost(host string) error {
	if !httpguts.ValidHostHeader(host) {
		return fmt.Errorf("%q is not valid; want a host or host:port", host)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
