package request

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func users() Values {
	return Values{Name: "users", File: "users.csv", Columns: []Column{
		{Name: "id", Rows: []string{"1", "2", "3"}},
		{Name: "name", Rows: []string{"Ann", "Bob & Co", "Çelik/..?"}},
	}, lines: []int{2, 3, 5}}
}

func words() Values {
	return Values{Name: "word", Columns: []Column{{Rows: []string{"one", "two"}}}}
}

func TestValidate(t *testing.T) {
	require.NoError(t, (Plan{Templates: []Template{{Path: "/"}}}).Validate())
	require.NoError(t, (Plan{
		Templates: []Template{{
			Method: "PUT", Path: "/u/{users.id}?w={word}&a=b%20c&n={seq}&t={token}", Weight: 3, CheckToken: true,
			Header: map[string]string{"Host": "shop:{seq}", "x-name": "{users.name}"},
			Body:   `{"a":{x},"id":"{users.id}"} query { word } { seq }`,
		}, {Path: "/{0}/{seq%7D"}},
		Values: []Values{users(), words()},
	}).Validate())
	require.NoError(t, (Plan{Targets: []Target{{Method: "GET", Path: "/", Header: http.Header{TokenHeader: {"mine"}}}}}).Validate())

	many := make([]Template, maxTemplates+1)
	for i := range many {
		many[i].Path = "/"
	}
	var uneven []Template
	for i := range 11 {
		uneven = append(uneven, Template{Path: "/", Weight: maxWeight - i%2})
	}
	long := words()
	long.Columns[0].Rows = make([]string, maxRows+1)
	template := func(change func(*Template)) Plan {
		changed := Template{Path: "/b"}
		change(&changed)
		return Plan{Templates: []Template{{Path: "/a"}, changed}, Values: []Values{users(), words()}}
	}
	values := func(change func(*Values)) Plan {
		changed := users()
		change(&changed)
		return Plan{Templates: []Template{{Path: "/{word}"}}, Values: []Values{words(), changed}}
	}
	target := func(change func(*Target)) Plan {
		changed := Target{Method: "GET", Path: "/b", Header: http.Header{}}
		change(&changed)
		return Plan{Targets: []Target{{Method: "GET", Path: "/a"}, changed}}
	}
	for _, tc := range []struct {
		name string
		plan Plan
		want string
	}{
		{"nothing", Plan{}, "requests: there is none; want at least one, or a target file"},
		{"both", Plan{Templates: []Template{{Path: "/"}}, Targets: []Target{{Method: "GET", Path: "/"}}}, "targets: a target file stands in the place of requests"},
		{"values for targets", Plan{Targets: []Target{{Method: "GET", Path: "/"}}, Values: []Values{words()}}, "values: the requests of a target file have no placeholders"},
		{"too many", Plan{Templates: many}, "requests: there are 1001; want at most 1000"},
		{"weights", Plan{Templates: uneven}, "requests: the weights add up to 109995 "},
		{"path without /", template(func(t *Template) { t.Path = "x" }), `requests[1].path: "x" must begin with /`},
		{"path that is empty", template(func(t *Template) { t.Path = "" }), `requests[1].path: "" must begin with /`},
		{"path from a value", template(func(t *Template) { t.Path = "{word}" }), `requests[1].path: "one" must begin with /`},
		{"path escape", template(func(t *Template) { t.Path = "/%zz" }), "requests[1].path: parse"},
		{"path control character", template(func(t *Template) { t.Path = "/a\r\nHost: b" }), "requests[1].path: "},
		{"path space", template(func(t *Template) { t.Path = "/?a=b c" }), "holds a space; write %20"},
		{"path fragment", template(func(t *Template) { t.Path = "/a#b" }), "holds a #, after which nothing is sent; write %23"},
		{"path placeholder", template(func(t *Template) { t.Path = "/{sek}" }), "requests[1].path: unknown placeholder {sek}; did you mean {seq}?"},
		{"path placeholder near none", template(func(t *Template) { t.Path = "/{customer}" }), "known are {seq}, {token}, {users.id}, {users.name}, {word} (if it is text, write %7Bcustomer%7D)"},
		{"wrong column", template(func(t *Template) { t.Path = "/{users.birthday}" }), "did you mean {users.id}?"},
		{"no column", template(func(t *Template) { t.Path = "/{users}" }), "did you mean {users.id}?"},
		{"column of none", template(func(t *Template) { t.Path = "/{word.x}" }), "did you mean {word}?"},
		{"body placeholder nearly right", template(func(t *Template) { t.Body = "{users.nam}" }), "requests[1].body: unknown placeholder {users.nam}; did you mean {users.name}?"},
		{"header placeholder", template(func(t *Template) { t.Header = map[string]string{"A": "{tok}"} }), "requests[1].header.A: unknown placeholder {tok}; did you mean {token}? (if it is text, write { tok })"},
		{"header name", template(func(t *Template) { t.Header = map[string]string{"A b": "c"} }), `requests[1].header.A b: "A b" is not valid`},
		{"header name with %", template(func(t *Template) { t.Header = map[string]string{"A%d": "\n"} }), `requests[1].header.A%d: value "\n" is not valid`},
		{"header twice", template(func(t *Template) { t.Header = map[string]string{"X-A": "c", "x-a": "d"} }), "requests[1].header.x-a: is the same header as X-A"},
		{"header value of a row", Plan{Templates: []Template{{Path: "/", Header: map[string]string{"A": "{users.name}"}}}, Values: func() []Values {
			v := users()
			v.Columns[1].Rows[2] = "a\nb"
			return []Values{v}
		}()}, `requests[0].header.A: users.csv:5: {users.name} is "a\nb", which is not valid in a header`},
		{"header value of a row in a worker", Plan{Templates: []Template{{Path: "/", Header: map[string]string{"A": "{w}"}}}, Values: []Values{{Name: "w", Columns: []Column{{Rows: []string{"a", "\x00"}}}}}}, `values w, row 2: {w} is "\x00"`},
		{"host", template(func(t *Template) { t.Header = map[string]string{"host": "a/b\"c"} }), "requests[1].header.host: "},
		{"token header", template(func(t *Template) {
			t.CheckToken = true
			t.Header = map[string]string{"x-request-token": "a"}
		}), "requests[1].header.x-request-token: carries the token"},
		{"check of HEAD", template(func(t *Template) { t.CheckToken, t.Method = true, "HEAD" }), "requests[1].check_token: "},
		{"method", template(func(t *Template) { t.Method = "G T" }), `requests[1].method: "G T" is not valid`},
		{"tunnel", template(func(t *Template) { t.Method = "CONNECT" }), "requests[1].method: CONNECT"},
		{"negative weight", template(func(t *Template) { t.Weight = -1 }), "requests[1].weight: is -1; want 1 to 10000"},
		{"large weight", template(func(t *Template) { t.Weight = 10_001 }), "requests[1].weight: is 10001; want 1 to 10000"},
		{"values without name", values(func(v *Values) { v.Name = "" }), `values[1].name: the name is ""`},
		{"values called seq", values(func(v *Values) { v.Name = "seq" }), "values[1].name: the name seq has a meaning of its own"},
		{"values twice", values(func(v *Values) { v.Name = "word" }), "values[1].name: there are two files named word"},
		{"no columns", values(func(v *Values) { v.Columns = nil }), "values[1].columns: there is none"},
		{"column name", values(func(v *Values) { v.Columns[1].Name = "a b" }), `values[1].columns[1]: is named "a b"`},
		{"unnamed of two", values(func(v *Values) { v.Columns[1].Name = "" }), `values[1].columns[1]: is named ""`},
		{"column twice", values(func(v *Values) { v.Columns[1].Name = "id" }), "values[1].columns[1]: two columns are named id"},
		{"no rows", values(func(v *Values) { v.Columns[0].Rows, v.Columns[1].Rows = nil, nil }), "values[1].columns[0]: has 0 rows"},
		{"too many rows", Plan{Templates: []Template{{Path: "/"}}, Values: []Values{long}}, "values[0].columns[0]: has 1000001 rows; want 1 to 1000000"},
		{"ragged", values(func(v *Values) { v.Columns[1].Rows = []string{"a"} }), "values[1].columns[1]: has 1 rows, and the first column has 3"},
		{"target method", target(func(t *Target) { t.Method = "" }), `targets[1].method: "" is not valid`},
		{"target path", target(func(t *Target) { t.Path = "b" }), `targets[1].path: "b" must begin with /`},
		{"target header", target(func(t *Target) { t.Header["a b"] = []string{"c"} }), `targets[1].header.a b: "a b" is not valid`},
		{"target header value", target(func(t *Target) { t.Header["a"] = []string{"c\n"} }), `targets[1].header.a: value`},
		{"target header encoding", target(func(t *Target) { t.Header["a"] = []string{"\xff"} }), `targets[1].header.a: is not UTF-8`},
		{"target host", target(func(t *Target) { t.Header["Host"] = []string{"a\"b"} }), `targets[1].header.Host: `},
		{"target hosts", target(func(t *Target) { t.Header["Host"] = []string{"a", "b"} }), `targets[1].header.Host: is set more than once`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ErrorContains(t, tc.plan.Validate(), tc.want)
			_, err := NewSource(tc.plan, "http://h", 0, 1)
			require.ErrorContains(t, err, tc.want)
		})
	}

	two := template(func(t *Template) { t.Path, t.Weight = "x", -1 }).Validate()
	require.ErrorContains(t, two, "requests[1].path")
	require.ErrorContains(t, two, "requests[1].weight")
}

func TestChecksTokens(t *testing.T) {
	assert.True(t, Plan{Templates: []Template{{}, {CheckToken: true}}}.ChecksTokens())
	assert.False(t, Plan{Templates: []Template{{}}}.ChecksTokens())
	assert.False(t, Plan{Targets: []Target{{}}}.ChecksTokens())
}

// TestPlanTravels: what a worker process makes of the plan is the same plan.
func TestPlanTravels(t *testing.T) {
	there := users()
	there.lines = nil // used where the file is read
	for _, plan := range []Plan{
		{Templates: []Template{{Method: "PUT", Path: "/{users.id}", Header: map[string]string{"A": "{seq}"}, Body: "<&>", Weight: 2, CheckToken: true}}, Values: []Values{there}},
		{Targets: []Target{{Method: "GET", Path: "/", Header: http.Header{"a": {"1", "2"}}, Body: []byte{0, 0xff}}}},
	} {
		wire, err := json.Marshal(plan)
		require.NoError(t, err)
		var got Plan
		require.NoError(t, json.Unmarshal(wire, &got))
		assert.Equal(t, plan, got)
		require.NoError(t, got.Validate())
	}
}
