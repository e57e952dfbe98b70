package request

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

func TestReadTargets(t *testing.T) {
	get := func(path, host string) Target {
		return Target{Method: "GET", Path: path, Header: http.Header{"Host": {host}}}
	}
	for _, tc := range []struct {
		name, content string
		want          []Target
	}{
		{"one line each", "GET http://goku:9090/a?b=c%20d\nGET https://goku/b\n", []Target{get("/a?b=c%20d", "goku:9090"), get("/b", "goku")}},
		{"comments, headers, case, no last newline", "# first\n\nPOST http://goku/things\nX-Account-ID: 8675309\n# between\nx-lower: a: b\nx-lower: c\n\n\nDELETE http://goku", []Target{
			{Method: "POST", Path: "/things", Header: http.Header{"Host": {"goku"}, "X-Account-ID": {"8675309"}, "x-lower": {"a: b", "c"}}},
			{Method: "DELETE", Path: "/", Header: http.Header{"Host": {"goku"}}},
		}},
		{"Windows", "\ufeffGET http://goku/a\r\nA: b\r\n\r\nGET http://goku/b\r\n", []Target{
			{Method: "GET", Path: "/a", Header: http.Header{"Host": {"goku"}, "A": {"b"}}}, get("/b", "goku"),
		}},
		{"host of its own", "GET http://goku/a\nhost: vegeta\n", []Target{get("/a", "vegeta")}},
		{"only a path", "GET /a//b\n", []Target{{Method: "GET", Path: "/a//b", Header: http.Header{}}}},
		{"no path", "GET http://goku?a\n", []Target{get("/?a", "goku")}},
		{"no fragment is sent", "GET http://goku/a#b\n", []Target{get("/a", "goku")}},
		{"IPv6", "GET http://[::1]:80/a\n", []Target{get("/a", "[::1]:80")}},
		{"other letters", "GET http://bücher.example/ü\n", []Target{get("/%C3%BC", "xn--bcher-kva.example")}},
		{"login", "GET http://user:pa%20ss@goku/a\n", []Target{{Method: "GET", Path: "/a", Header: http.Header{"Host": {"goku"}, "Authorization": {"Basic dXNlcjpwYSBzcw=="}}}}},
		{"login of its own", "GET http://user@goku/a\nAuthorization: mine\n", []Target{{Method: "GET", Path: "/a", Header: http.Header{"Host": {"goku"}, "Authorization": {"mine"}}}}},
		{"braces are no placeholders", "GET http://goku/{seq}/{x}\n", []Target{get("/%7Bseq%7D/%7Bx%7D", "goku")}},
		{"JSON, no last newline", "\n" + `{"method":"POST","url":"http://goku/1","header":{"Content-Type":["text/plain"],"Empty":[]},"body":"Rk9P"}` + "\n" + `{"url":"https://goku/2","method":"GET","other":1}`, []Target{
			{Method: "POST", Path: "/1", Header: http.Header{"Host": {"goku"}, "Content-Type": {"text/plain"}}, Body: []byte("FOO")}, get("/2", "goku"),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ReadTargets(write(t, "targets", tc.content))
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			require.NoError(t, Plan{Targets: got}.Validate())
		})
	}
}

func TestReadTargetsErrors(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"empty", "", "targets: has no targets; want at least one"},
		{"only comments", "# a\n\n", "has no targets"},
		{"no url", "GET http://a/\nGET\n", "targets:2: "},
		{"method", "\n# a\nget http://a/\n", "targets:3: bad method: get"},
		{"url", "GET http://a/\n\nGET http://a/%zz\nA: b\n", "targets:3: bad URL"},
		{"scheme", "GET http://a/\nGET ftp://a/\n", `targets:2: url "ftp://a/": want http://host/path`},
		{"scheme left out", "GET //a/b\n", `targets:1: url "//a/b": want http://host/path`},
		{"scheme alone", "GET http:a\n", "targets:1: "},
		{"star", "OPTIONS *\n", "targets:1: "},
		{"header", "GET http://a/\nA\n", "targets:2: bad header: A"},
		{"header without value", "GET http://a/\nA: \n", "targets:2: bad header"},
		{"header name", "GET http://a/\na b: c\n", `targets:1: header.a b: "a b" is not valid`},
		{"no empty line between", "GET http://a/\nA: b\nGET http://a/b\n", "targets:1: header.GET http: "},
		{"no empty line between, said", "GET http://a/\nA: b\nGET http://a/b\n", "an empty line must stand between two targets"},
		{"hosts", "GET http://a/\nHost: b\n", ""},
		{"two hosts", "GET http://a/\nHost: b\nhost: c\n", "targets:1: header.Host: is set more than once"},
		{"space", "GET http://a/?b c\n", "targets:1: path: "},
		{"tunnel", "CONNECT http://a/\n", "targets:1: method: CONNECT"},
		{"encoding", "GET http://a/\nA: \xff\n", "targets:2: is not UTF-8"},
		{"long line", "GET http://a/\nA: " + strings.Repeat("x", maxHTTPLine) + "\n\nGET http://a/b\n", "targets:2: the line has 65538 bytes"},
		{"no body", "GET http://a/\n@none\n", "targets:2: body @none: neither in the working directory nor beside the target file: "},
		{"body without a name", "GET http://a/\n@\n", "targets:2: body @: "},
		{"endless body", "GET http://a/\n@/dev/zero\n", "targets:2: body @/dev/zero: is no regular file"},
		{"JSON", `{"method":"GET","url":"http://a/"}` + "\n{\n", "targets:2: "},
		{"JSON without method", `{"url":"http://a/"}`, "targets:1: target: required method is missing"},
		{"JSON without URL", `{"method":"GET"}`, "targets:1: target: required url is missing"},
		{"JSON method", `{"method":"G T","url":"http://a/"}`, `targets:1: method: "G T" is not valid`},
		{"JSON body", `{"method":"GET","url":"http://a/","body":"?"}`, "targets:1: "},
		{"JSON, then none", `{"method":"GET","url":"http://a/"}` + "\n\nGET http://a/\n", "targets:3: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadTargets(write(t, "targets", tc.content))
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "read targets: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := ReadTargets(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLinesOfTargets(t *testing.T) {
	// The line is right wherever vegeta has looked ahead to.
	for _, tc := range []struct {
		before string
		line   int
	}{
		{"", 1},
		{"GET http://a/\n", 2},
		{"GET http://a/\n\n", 3},
		{"GET http://a/\n# b\n\n", 4},
		{"GET http://a/\nGET http://a/\n\n# b\nGET http://a/\n", 6},
		{"GET http://a/\nA: b\nC: d\n\n", 5},
		{"GET http://a/\nGET http://a/\nA: b\n\n", 5},
		{"GET http://a/\nAA : b\n\n\n", 2}, // vegeta takes AA for a method
	} {
		_, line, err := parseTargets([]byte(tc.before+"GET ftp://a/\n"), bodyFiles{})
		require.Error(t, err)
		assert.Equal(t, tc.line, line, tc.before)
	}
}

func TestLongestLine(t *testing.T) {
	value := strings.Repeat("x", maxHTTPLine-len("A: ")-1)
	targets, _, err := parseTargets([]byte("GET http://a/\nA: "+value+"\n\nGET http://a/b\n"), bodyFiles{})
	require.NoError(t, err)
	require.Len(t, targets, 2)
	assert.Equal(t, value, targets[0].Header["A"][0])
}

func TestBodyFiles(t *testing.T) {
	work, beside := t.TempDir(), t.TempDir()
	t.Chdir(work)
	for path, content := range map[string]string{
		filepath.Join(work, "both"):     "from the working directory",
		filepath.Join(beside, "both"):   "beside",
		filepath.Join(beside, "beside"): "beside\x00\xff",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	file := filepath.Join(beside, "targets")
	content := "POST http://a/\n@both\nPUT http://a/\nA: b\n@beside\n\nPUT http://a/\n@" + filepath.Join(work, "both") + "\n"
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	got, err := ReadTargets(file)
	require.NoError(t, err)
	require.Len(t, got, 3)
	assert.Equal(t, "from the working directory", string(got[0].Body))
	assert.Equal(t, "beside\x00\xff", string(got[1].Body))
	assert.Equal(t, "from the working directory", string(got[2].Body))

	_, line, err := parseTargets([]byte(content), bodyFiles{beside: file, left: 30})
	require.ErrorContains(t, err, "have more than 64 MiB together")
	assert.Equal(t, 5, line)
}

// hits is a pacer that ends after as many.
type hits uint64

func (n hits) Pace(_ time.Duration, sent uint64) (time.Duration, bool) { return 0, sent >= uint64(n) }
func (n hits) Rate(time.Duration) float64                              { return 0 }

// TestTargetsThroughVegeta: what arrives is what vegeta would have sent to the
// host of the URL.
func TestTargetsThroughVegeta(t *testing.T) {
	type seen struct{ method, host, uri, auth, x, token string }
	arrived := make(chan seen, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- seen{r.Method, r.Host, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("X"), r.Header.Get(TokenHeader)}
	}))
	defer server.Close()
	targets, err := ReadTargets(write(t, "targets", "GET https://u:p@goku:99/a%2Fb?c=d\nX: é\nX-Request-Token: mine\n\nGET /plain\n"))
	require.NoError(t, err)
	s, err := NewSource(Plan{Targets: targets}, server.URL, 0, 1)
	require.NoError(t, err)
	attacker := vegeta.NewAttacker(vegeta.Workers(1), vegeta.MaxWorkers(1))
	for result := range attacker.Attack(s.Targeter(), hits(len(targets)), 0, "") {
		require.Empty(t, result.Error)
	}
	require.Len(t, arrived, 2)
	assert.Equal(t, seen{"GET", "goku:99", "/a%2Fb?c=d", "Basic dTpw", "é", "mine"}, <-arrived)
	assert.Equal(t, seen{"GET", strings.TrimPrefix(server.URL, "http://"), "/plain", "", "", ""}, <-arrived)
}

// FuzzReadTargets: whatever is read can be sent, and vegeta's own parser finds
// the same number of targets.
func FuzzReadTargets(f *testing.F) {
	f.Add([]byte("GET http://goku/a\nA: b\n\nPOST https://u:p@goku?x\nGET /\n# c\n"))
	f.Add([]byte(`{"method":"POST","url":"http://goku/1","header":{"A":["b"]},"body":"Rk9P"}` + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if strings.Contains(string(content), "@") {
			return // no files
		}
		targets, line, err := parseTargets(content, bodyFiles{})
		require.LessOrEqual(t, line, strings.Count(string(content), "\n")+1)
		if err != nil {
			return
		}
		src := strings.NewReader(strings.TrimPrefix(string(content), byteOrderMark) + "\n")
		theirs := vegeta.NewHTTPTargeter(src, nil, nil)
		if isJSON([]byte(strings.TrimPrefix(string(content), byteOrderMark))) {
			theirs = vegeta.NewJSONTargeter(src, nil, nil)
		}
		all, err := vegeta.ReadAllTargets(theirs)
		require.NoError(t, err)
		require.Len(t, targets, len(all))

		s, err := NewSource(Plan{Targets: targets}, "http://127.0.0.1:80", 0, 1)
		require.NoError(t, err)
		next := s.Targeter()
		for i := range targets {
			var got vegeta.Target
			require.NoError(t, next(&got))
			ours, err := got.Request()
			require.NoError(t, err)
			want, err := all[i].Request()
			require.NoError(t, err)
			require.Equal(t, "127.0.0.1:80", ours.URL.Host)
			require.Equal(t, want.Method, ours.Method)
			require.Equal(t, want.URL.RequestURI(), ours.URL.RequestURI())
			require.Equal(t, all[i].Body, got.Body)
		}
	})
}
