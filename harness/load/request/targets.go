package request

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/net/http/httpguts"
)

const maxTargets = 1_000_000

// Target is one request of a target file. It is sent as it is: braces in it are
// no placeholders.
type Target struct {
	Method string      `json:"method"`
	Path   string      `json:"path"`             // with the query
	Header http.Header `json:"header,omitempty"` // names as the file writes them
	Body   []byte      `json:"body,omitempty"`
}

// ReadTargets reads a file of vegeta's, in its http or its JSON format as
// vegeta's own parsers take them; a file whose first line begins with { is JSON.
//
// All requests go to the server under attack, whatever host a URL names; that
// host becomes the header Host, unless the target sets the header itself. The
// scheme of the URL, http or https, is ignored: how the server is spoken to is
// not for the file to say. A name and password in the URL become the header
// Authorization, as net/http's client would have it. A URL may also be a path.
//
// The file of a body (@body.json) is looked for in the working directory, as
// vegeta does, and then beside the target file. Target file and bodies together
// may have 64 MiB, and there may be 1,000,000 targets.
func ReadTargets(path string) ([]Target, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	targets, line, err := parseTargets(content, bodyFiles{beside: path, left: maxFileBytes - int64(len(content))})
	switch {
	case err != nil && line > 0:
		return nil, fmt.Errorf("read targets: %s:%d: %w", path, line, err)
	case err != nil:
		return nil, fmt.Errorf("read targets: %s: %w", path, err)
	}
	return targets, nil
}

// parseTargets returns with an error the line it was found on, if it is on one.
func parseTargets(content []byte, bodies bodyFiles) ([]Target, int, error) {
	content = bytes.TrimPrefix(content, []byte(byteOrderMark))
	src := &lineReader{rest: content}
	var next vegeta.Targeter
	if isJSON(content) {
		next = vegeta.NewJSONTargeter(src, nil, nil)
	} else {
		src.change = bodies.locate
		src.maxLine = maxHTTPLine
		next = vegeta.NewHTTPTargeter(src, nil, nil)
	}
	var targets []Target
	for {
		src.mark()
		var read vegeta.Target
		err := next(&read)
		switch {
		case src.err != nil: // vegeta takes it for the end of the file
			return nil, src.count, src.err
		case errors.Is(err, vegeta.ErrNoTargets) && len(targets) == 0:
			return nil, 0, errors.New("has no targets; want at least one, such as GET http://host/path")
		case errors.Is(err, vegeta.ErrNoTargets):
			return targets, 0, nil
		case err != nil:
			return nil, src.count, err
		case len(targets) == maxTargets:
			return nil, src.first, fmt.Errorf("has more than %d targets; want fewer", maxTargets)
		}
		target, err := newTarget(read)
		if err != nil {
			return nil, src.first, err
		}
		targets = append(targets, target)
	}
}

func isJSON(content []byte) bool {
	for line := range bytes.Lines(content) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return line[0] == '{'
		}
	}
	return false
}

// newTarget makes of vegeta's target, which names a host, one that does not.
func newTarget(t vegeta.Target) (Target, error) {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil:
		return Target{}, err
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(t.URL, "/"): // a path
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return Target{}, fmt.Errorf("url %q: want http://host/path, https://host/path or /path", t.URL)
	}
	out := Target{Method: t.Method, Path: u.RequestURI(), Header: http.Header{}, Body: t.Body}
	hostSet := false
	for name, values := range t.Header {
		if strings.EqualFold(name, "Host") { // in the one spelling vegeta sends
			name, hostSet = "Host", hostSet || len(values) > 0
		}
		if len(values) > 0 {
			out.Header[name] = append(out.Header[name], values...)
		}
	}
	if u.Host != "" && !hostSet {
		host, err := httpguts.PunycodeHostPort(u.Host)
		if err != nil {
			return Target{}, fmt.Errorf("url %q: host: %w", t.URL, err)
		}
		out.Header["Host"] = []string{host}
	}
	if u.User != nil && out.Header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		login := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		out.Header["Authorization"] = []string{"Basic " + login}
	}
	return out, out.validate()
}

// validate names the field in its error.
func (t Target) validate() error {
	if err := validMethod(t.Method); err != nil {
		return fmt.Errorf("method: %w", err)
	}
	if err := validPath(t.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	for _, name := range sortedKeys(t.Header) {
		for _, value := range t.Header[name] {
			err := validHeader(name, value)
			if err == nil && !utf8.ValidString(value) {
				err = errors.New("is not UTF-8")
			}
			if err == nil && name == "Host" {
				err = validHost(value)
			}
			if err == nil && name == "Host" && len(t.Header[name]) > 1 {
				err = errors.New("is set more than once; want one")
			}
			switch {
			case err != nil && looksLikeTarget(name+" "):
				return fmt.Errorf("header.%s: %w; an empty line must stand between two targets", name, err)
			case err != nil:
				return fmt.Errorf("header.%s: %w", name, err)
			}
		}
	}
	return nil
}
