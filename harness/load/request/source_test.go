package request

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

func source(t testing.TB, p Plan, first, step uint64) vegeta.Targeter {
	t.Helper()
	s, err := NewSource(p, "http://127.0.0.1:80/", first, step)
	require.NoError(t, err)
	return s.Targeter()
}

func take(t testing.TB, next vegeta.Targeter) vegeta.Target {
	t.Helper()
	var got vegeta.Target
	require.NoError(t, next(&got))
	return got
}

func TestPlaceholders(t *testing.T) {
	next := source(t, Plan{Templates: []Template{{
		Method: "PUT", Path: "/{seq}/{token}?again={seq}", Body: `{"t":"{token}","other":{x}}`,
		Header: map[string]string{"x-a": "a", "x-t": "{token}"}, CheckToken: true,
	}}}, 1, 1)
	first, second := take(t, next), take(t, next)
	token := first.Header.Get(TokenHeader)
	assert.Len(t, token, tokenLen)
	assert.Equal(t, vegeta.Target{
		Method: "PUT",
		URL:    "http://127.0.0.1:80/1/" + token + "?again=1",
		Body:   []byte(`{"t":"` + token + `","other":{x}}`),
		Header: http.Header{"X-A": {"a"}, "X-T": {token}, TokenHeader: {token}},
	}, first)
	assert.Contains(t, second.URL, "/2/")
	assert.NotEqual(t, token, second.Header.Get(TokenHeader))
}

func TestValuesOfARowStayTogether(t *testing.T) {
	next := source(t, Plan{
		Templates: []Template{{
			Path:   "/u/{users.name}/{word}?id={users.id}&n={users.name}",
			Header: map[string]string{"X-Word": "<{word}>"},
			Body:   "{users.id}:{users.name}",
		}},
		Values: []Values{users(), words()},
	}, 0, 1)
	var urls, headers, bodies []string
	for range 4 {
		got := take(t, next)
		urls = append(urls, strings.TrimPrefix(got.URL, "http://127.0.0.1:80"))
		headers = append(headers, got.Header.Get("X-Word"))
		bodies = append(bodies, string(got.Body))
	}
	assert.Equal(t, []string{
		"/u/Ann/one?id=1&n=Ann",
		"/u/Bob%20%26%20Co/two?id=2&n=Bob%20%26%20Co",
		"/u/%C3%87elik%2F..%3F/one?id=3&n=%C3%87elik%2F..%3F",
		"/u/Ann/two?id=1&n=Ann",
	}, urls)
	assert.Equal(t, []string{"<one>", "<two>", "<one>", "<two>"}, headers)
	assert.Equal(t, []string{"1:Ann", "2:Bob & Co", "3:Çelik/..?", "1:Ann"}, bodies, "verbatim")
}

func TestTemplatesAreSentAsWritten(t *testing.T) {
	got := take(t, source(t, Plan{Templates: []Template{{Path: "/a%2Fb;c/../{0}?x=[1]&y=é"}}}, 0, 1))
	assert.Equal(t, "http://127.0.0.1:80/a%2Fb;c/../{0}?x=[1]&y=é", got.URL)
	assert.Empty(t, got.Body)
	assert.Empty(t, got.Header)
}

func TestLongTexts(t *testing.T) {
	long := strings.Repeat("x", 300)
	got := take(t, source(t, Plan{Templates: []Template{{Path: "/" + long + "{seq}", Body: "{w}" + long}},
		Values: []Values{{Name: "w", Columns: []Column{{Rows: []string{long}}}}}}, 7, 1))
	assert.Equal(t, "http://127.0.0.1:80/"+long+"7", got.URL)
	assert.Equal(t, long+long, string(got.Body))
}

// TestSourcesShareNoNumber: three workers, each called from several goroutines.
func TestSourcesShareNoNumber(t *testing.T) {
	const workers, each = 3, 300
	var mu sync.Mutex
	seqs, tokens := map[string]bool{}, map[string]bool{}
	var wg sync.WaitGroup
	for w := range uint64(workers) {
		next := source(t, Plan{Templates: []Template{{Path: "/{seq}?{token}"}}}, w, workers)
		for range 3 {
			wg.Go(func() {
				for range each / 3 {
					var got vegeta.Target
					if !assert.NoError(t, next(&got)) {
						return
					}
					u, err := url.Parse(got.URL)
					if !assert.NoError(t, err) {
						return
					}
					mu.Lock()
					seqs[u.Path] = true
					tokens[u.RawQuery[tokenLen-mixedHex:]] = true // without what differs by chance
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	require.Len(t, seqs, workers*each)
	require.Len(t, tokens, workers*each)
	for n := range workers * each {
		require.True(t, seqs[fmt.Sprintf("/%d", n)], n)
	}
}

// TestEachTemplateMeetsEachRow: two templates by turns and an even number of
// rows, in one worker and in one of two, which has but every second row.
func TestEachTemplateMeetsEachRow(t *testing.T) {
	p := Plan{
		Templates: []Template{{Path: "/a/{n}"}, {Path: "/b/{n}"}},
		Values:    []Values{{Name: "n", Columns: []Column{{Rows: []string{"0", "1", "2", "3"}}}}},
	}
	for _, tc := range []struct {
		first, step uint64
		want        map[string]int
	}{
		{0, 1, map[string]int{"/a/0": 10, "/a/1": 10, "/a/2": 10, "/a/3": 10, "/b/0": 10, "/b/1": 10, "/b/2": 10, "/b/3": 10}},
		{1, 2, map[string]int{"/a/1": 20, "/a/3": 20, "/b/1": 20, "/b/3": 20}},
	} {
		next := source(t, p, tc.first, tc.step)
		got := map[string]int{}
		for range 80 {
			got[strings.TrimPrefix(take(t, next).URL, "http://127.0.0.1:80")]++
		}
		assert.Equal(t, tc.want, got)
	}
}

// TestProportionsHoldInEachSource: with as many sources as turns, none has only
// one of the templates.
func TestProportionsHoldInEachSource(t *testing.T) {
	p := Plan{Templates: []Template{{Path: "/often", Weight: 3}, {Path: "/rarely"}}}
	for first := range uint64(4) {
		next := source(t, p, first, 4)
		rarely := 0
		for range 40 {
			if strings.HasSuffix(take(t, next).URL, "/rarely") {
				rarely++
			}
		}
		assert.Equal(t, 10, rarely, "source %d", first)
	}
}

func TestTargetsInTurn(t *testing.T) {
	next := source(t, Plan{Targets: []Target{
		{Method: "GET", Path: "/{seq}?a=%20", Header: http.Header{"Host": {"goku"}, "x-case": {"1", "2"}}},
		{Method: "POST", Path: "/b", Body: []byte("{token}")},
	}}, 0, 1)
	first, second, third := take(t, next), take(t, next), take(t, next)
	assert.Equal(t, vegeta.Target{Method: "GET", URL: "http://127.0.0.1:80/{seq}?a=%20", Header: http.Header{"Host": {"goku"}, "x-case": {"1", "2"}}}, first)
	assert.Equal(t, vegeta.Target{Method: "POST", URL: "http://127.0.0.1:80/b", Body: []byte("{token}")}, second)
	assert.Equal(t, first, third)
}

func TestSourceErrors(t *testing.T) {
	good := Plan{Templates: []Template{{Path: "/"}}}
	for _, tc := range []struct{ base, want string }{
		{"", "base URL: "},
		{"127.0.0.1:80", "base URL: "},
		{"ftp://h", "want http://host:port"},
		{"http://h/?a=1", "no place in it"},
		{"http://h/#a", "no place in it"},
		{"http://a:b@h", "no place in it"},
	} {
		_, err := NewSource(good, tc.base, 0, 1)
		require.ErrorContains(t, err, tc.want, tc.base)
	}
	_, err := NewSource(good, "http://h", 0, 0)
	require.ErrorContains(t, err, "step is 0; want 1 or more")

	s, err := NewSource(good, "https://[::1]:8080/base/", 0, 1)
	require.NoError(t, err)
	assert.Equal(t, "https://[::1]:8080/base/", take(t, s.Targeter()).URL)
	require.ErrorIs(t, s.Targeter()(nil), vegeta.ErrNilTarget)
}

// TestAllocations: the garbage of the generator is part of what it costs.
func TestAllocations(t *testing.T) {
	for _, tc := range []struct {
		name string
		t    Template
		most float64
	}{
		{"fixed", Template{Path: "/", Header: map[string]string{"A": "b"}, Body: "x"}, 0},
		{"seq in the path", Template{Path: "/session?id={seq}", Header: map[string]string{"A": "b"}}, 1},
		{"value in the path, token in the body", Template{Path: "/{w}", Body: "{token}"}, 2},
		{"checked", Template{Path: "/?t={token}", CheckToken: true}, 5},
	} {
		next := source(t, Plan{Templates: []Template{tc.t}, Values: []Values{{Name: "w", Columns: []Column{{Rows: []string{"a b"}}}}}}, 0, 1)
		var got vegeta.Target
		allocs := testing.AllocsPerRun(100, func() { _ = next(&got) })
		assert.LessOrEqual(t, allocs, tc.most, tc.name)
	}
}

func TestOrder(t *testing.T) {
	weights := func(ws ...int) []Template {
		var out []Template
		for _, w := range ws {
			out = append(out, Template{Weight: w})
		}
		return out
	}
	assert.Equal(t, []int{0}, orderOf(weights(0)))
	assert.Equal(t, []int{0, 1}, orderOf(weights(0, 0)))
	assert.Equal(t, []int{0, 1}, orderOf(weights(5000, 5000)), "weights are reduced")
	assert.Equal(t, []int{0, 0, 1, 0}, orderOf(weights(3, 1)), "the rare request stands among the others")
	assert.Equal(t, uint64(12), newTurns(weights(3, 1), []int{6}).shift)
	assert.Equal(t, uint64(60), newTurns(weights(3, 1), []int{6, 5, 1}).shift)
	assert.Equal(t, uint64(3*999_983), newTurns(weights(1, 1, 1), []int{999_983, 999_979}).shift, "what no run reaches is no use")
}

func TestPercentEncode(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "aZ09-._~": "aZ09-._~", "a b": "a%20b", "a/b?c=d&e+f%20#": "a%2Fb%3Fc%3Dd%26e%2Bf%2520%23", "é\x00": "%C3%A9%00",
	} {
		assert.Equal(t, want, percentEncode(in))
	}
	plain := []string{"a", "b"}
	assert.Same(t, &plain[0], &percentEncodeAll(plain)[0], "shared where nothing changes")
	assert.Equal(t, []string{"a", "%20", "b"}, percentEncodeAll([]string{"a", " ", "b"}))
}

// FuzzPercentEncode: a value comes back whole, as one segment and as one value
// of the query.
func FuzzPercentEncode(f *testing.F) {
	f.Add("a/b?c=d&e+f%20#;\x00é")
	f.Fuzz(func(t *testing.T, value string) {
		encoded := percentEncode(value)
		segment, err := url.PathUnescape(encoded)
		require.NoError(t, err)
		require.Equal(t, value, segment)
		query, err := url.ParseQuery("k=" + encoded + "&l=m")
		require.NoError(t, err)
		require.Equal(t, url.Values{"k": {value}, "l": {"m"}}, query)
		require.NotContains(t, encoded, "/")
	})
}

func BenchmarkTargeter(b *testing.B) {
	for _, tc := range []struct {
		name string
		plan Plan
	}{
		{"fixed", Plan{Templates: []Template{{Path: "/"}}}},
		{"seq", Plan{Templates: []Template{{Path: "/session?id={seq}"}}}},
		{"checked", Plan{Templates: []Template{{Path: "/session?id={seq}", CheckToken: true}}}},
		{"values", Plan{Templates: []Template{{Method: "POST", Path: "/{users.id}", Header: map[string]string{"A": "{users.id}"}, Body: "{users.name}"}}, Values: []Values{users()}}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			next := source(b, tc.plan, 0, 1)
			b.ReportAllocs()
			for b.Loop() {
				var t vegeta.Target
				_ = next(&t)
			}
		})
	}
}

// TestRequestsAreVegetas holds Request to what vegeta makes of the same targets.
func TestRequestsAreVegetas(t *testing.T) {
	plan := Plan{Templates: []Template{
		{Path: "/fixed", Header: map[string]string{"Host": "example.test", "X-A": "b"}},
		{Method: "POST", Path: "/body", Body: "fixed"},
		{Path: "/{seq}", Header: map[string]string{"X-A": "b"}},
		{Path: "/{seq}/%2F?a=%20&b={token}"},
		{Method: "PUT", Path: "/", Body: "{seq}", Header: map[string]string{"X-N": "{seq}"}},
	}}
	make := func() *Source {
		s, err := NewSource(plan, "http://127.0.0.1:/", 0, 1)
		require.NoError(t, err)
		s.made = tokens{run: 7}
		return s
	}
	theirs, ours := make().Targeter(), make()
	seen := map[string]*http.Request{}
	for range 3 * len(plan.Templates) {
		target := take(t, theirs)
		want, err := target.Request()
		require.NoError(t, err)
		got, err := ours.Request()
		require.NoError(t, err)
		assert.Equal(t, want.Method, got.Method)
		assert.Equal(t, want.URL, got.URL)
		assert.Equal(t, want.Host, got.Host)
		assert.Equal(t, want.Header, got.Header)
		assert.Equal(t, want.ContentLength, got.ContentLength)
		if want.Body != nil {
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			assert.Equal(t, string(target.Body), string(body))
		}
		if before := seen[got.URL.Path]; before != nil {
			assert.Equal(t, got.URL.Path == "/fixed", before == got, "the request that is always the same is made once")
		}
		seen[got.URL.Path] = got
	}
}
