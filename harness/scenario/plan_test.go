package scenario

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/corpus"
)

// everything holds each field of a load plan that can stand beside the others.
const everything = `scenario: a/b
target: {command: [./server, "{listen}"], cpus: "1", tls: {ca: ca.pem, server_name: shop.test}}
load:
  in_flight: 100
  at_most: 300
  stages:
    - {rate: 10/s, hold: 2s}
    - {rate: 50/s, ramp: 3s, capture: true}
    - {rate: 10/s, ramp: 1s, hold: 1s}
  connections: 400
  workers: 2
  from: [127.0.0.1, 127.0.0.2]
  timeout: 1m
  protocol: http/1.1
  engine: net/http
  requests:
    - {method: POST, path: "/{user}/{seq}", header: {X-Item: "{item.id}"}, body: "{token}"}
  values: {user: users.txt, item: items.csv}
  clients:
    - {share: 2%, reads: 1KiB/s}
    - {share: 1%, stops_reading_after: 4KiB}
    - {share: 1%, sends: 100B/s}
    - {share: 0.5%, hangs_up_after: 50ms}
  results: whole
  process: {gomaxprocs: 1, gogc: 200, memory: 160MiB, cpus: 0-1}
`

func seconds(n int) Duration { return Duration(time.Duration(n) * time.Second) }

func TestParseEverything(t *testing.T) {
	s, err := Parse("shop/x.yaml", []byte(everything))
	require.NoError(t, err)
	assert.Equal(t, LoadPlan{
		InFlight: 100, AtMost: 300,
		Stages: []Stage{
			{Rate: 10, Hold: seconds(2)},
			{Rate: 50, Ramp: seconds(3), Capture: true},
			{Rate: 10, Ramp: seconds(1), Hold: seconds(1)},
		},
		Connections: 400, Workers: 2, From: []string{"127.0.0.1", "127.0.0.2"}, Timeout: seconds(60),
		Protocol: HTTP1, Engine: EngineNetHTTP,
		Requests: []Request{{Method: "POST", Path: "/{user}/{seq}", Header: map[string]string{"X-Item": "{item.id}"}, Body: "{token}"}},
		Values:   map[string]string{"user": "users.txt", "item": "items.csv"},
		Clients: []Client{
			{Share: 2, Reads: 1024}, {Share: 1, StopsReadingAfter: 4096},
			{Share: 1, Sends: 100}, {Share: 0.5, HangsUpAfter: Duration(50 * time.Millisecond)},
		},
		Results: ResultsWhole,
		Process: Process{GOMAXPROCS: 1, GOGC: 200, Memory: 160 << 20, CPUs: "0-1"},
	}, s.Load)
	assert.Equal(t, &TLS{CA: "ca.pem", ServerName: "shop.test", Verify: true}, s.Target.TLS)
	assert.Equal(t, CPUSet("1"), s.Target.CPUs)
	assert.Equal(t, filepath.Join("shop", "users.txt"), s.Path("users.txt"))
	assert.Equal(t, "/tmp/users.txt", s.Path("/tmp/users.txt"))

	var ways []string
	for _, c := range s.Load.Clients {
		ways = append(ways, c.Behaviour())
	}
	assert.Equal(t, []string{"reads 1KiB/s", "stops reading after 4KiB", "sends 100B/s", "hangs up after 50ms"}, ways)

	_, err = s.Resolve(Overrides{})
	assert.ErrorContains(t, err, `shop/x.yaml:18:18: load.values.user: "users.txt" cannot be read: no such file or directory; it is relative to the scenario file`)
	r, err := inFolder(t, s, "users.txt", "items.csv", "ca.pem").Resolve(Overrides{})
	require.NoError(t, err)
	assertRoundTrip(t, r)
	written, err := json.Marshal(r)
	require.NoError(t, err)
	assert.NotContains(t, string(written), os.TempDir(), "a bundle does not tell where the files were")
	assert.Contains(t, string(written), `"values":{"item":"items.csv","user":"users.txt"}`)
	assert.Contains(t, string(written), `"verify":true`)
}

func TestCheckFiles(t *testing.T) {
	s, err := Parse("x.yaml", []byte("scenario: a\ntarget: {url: 'https://x', tls: {ca: .}}\nload: {in_flight: 1, targets: none.targets}\n"))
	require.NoError(t, err)
	_, err = inFolder(t, s).Resolve(Overrides{})
	require.Error(t, err)
	assert.Equal(t, []string{
		`x.yaml:2:38: target.tls.ca: "." cannot be read: it is not a regular file; it is relative to the scenario file`,
		`x.yaml:3:31: load.targets: "none.targets" cannot be read: no such file or directory; it is relative to the scenario file`,
	}, strings.Split(err.Error(), "\n"))
	r, err := inFolder(t, &Scenario{Name: "a", origin: s.origin, Target: Target{URL: "https://x"}, Load: LoadPlan{InFlight: 1, Targets: "a.targets"}}, "a.targets").Resolve(Overrides{})
	require.NoError(t, err)
	assert.Empty(t, r.Scenario.Load.Requests, "the file's targets are sent, and nothing else")
	assert.Equal(t, &TLS{Verify: true}, r.Scenario.Target.TLS, "https:// says so")
	assert.Equal(t, EngineNetHTTP, r.Scenario.Load.Engine)
	assertRoundTrip(t, r)
}

func TestResolveLoad(t *testing.T) {
	for name, c := range map[string]struct {
		load     string
		override int
		want     func(*LoadPlan) // what is not as in the plan below
	}{
		"closed": {"{in_flight: 10}", 0, func(*LoadPlan) {}},
		"open": {"{rate: 10/s}", 0, func(l *LoadPlan) {
			l.InFlight, l.Rate, l.AtMost = 0, 10, DefaultAtMost
			l.Stages[0].InFlight, l.Stages[0].Rate = 0, 10
		}},
		"open, to be reached": {"{rate: 10/s, in_flight: 20}", 0, func(l *LoadPlan) {
			l.InFlight, l.Rate, l.AtMost = 20, 10, 20
			l.Stages[0].InFlight, l.Stages[0].Rate = 0, 10
		}},
		"hold is longer than the window": {"{in_flight: 10, ramp: 1s, hold: 20s}", 0, func(l *LoadPlan) {
			l.Ramp, l.Hold = seconds(1), seconds(20)
			l.Stages[0].Ramp, l.Stages[0].Hold = seconds(1), seconds(20)
		}},
		"http/2": {"{in_flight: 10, protocol: http/2, connections: 2}", 0, func(l *LoadPlan) {
			l.Protocol, l.Engine, l.Connections = HTTP2, EngineNetHTTP, 2
		}},
		"stages, the last captured": {"{stages: [{in_flight: 100, ramp: 2s, hold: 5s}, {in_flight: 10, ramp: 1s}]}", 0, func(l *LoadPlan) {
			l.Ramp = seconds(8)
			l.Stages = []Stage{{InFlight: 100, Ramp: seconds(2), Hold: seconds(5)}, {InFlight: 10, Ramp: seconds(1), Hold: seconds(10), Capture: true}}
		}},
		"spike in the window": {"{stages: [{in_flight: 10, hold: 2s, capture: true}, {in_flight: 90, hold: 3s}, {in_flight: 5, ramp: 1s}]}", 0, func(l *LoadPlan) {
			l.Ramp, l.Hold = 0, seconds(2)
			l.Stages = []Stage{{InFlight: 10, Hold: seconds(2), Capture: true}, {InFlight: 90, Hold: seconds(3)}, {InFlight: 5, Ramp: seconds(1), Hold: seconds(4)}}
		}},
		"captured for the window, and a tail": {"{stages: [{in_flight: 10, capture: true}, {in_flight: 1}]}", 0, func(l *LoadPlan) {
			l.Ramp = 0
			l.Stages = []Stage{{InFlight: 10, Hold: seconds(10), Capture: true}, {InFlight: 1}}
		}},
		"scaled": {"{stages: [{in_flight: 1, hold: 1s}, {in_flight: 999, hold: 1s}, {in_flight: 1000}], connections: 1500, workers: 9}", 7, func(l *LoadPlan) {
			l.InFlight, l.Ramp, l.Connections, l.Workers = 7, seconds(2), 11, 7
			l.Stages = []Stage{{InFlight: 1, Hold: seconds(1)}, {InFlight: 7, Hold: seconds(1)}, {InFlight: 7, Hold: seconds(10), Capture: true}}
		}},
		"open, scaled up": {"{rate: 10/s, in_flight: 20, connections: 30, workers: 4}", 50, func(l *LoadPlan) {
			l.InFlight, l.Rate, l.AtMost, l.Connections, l.Workers = 50, 10, 50, 50, 4
			l.Stages[0].InFlight, l.Stages[0].Rate = 0, 10
		}},
		"open, scaled down": {"{rate: 10/s, in_flight: 20, at_most: 40, workers: 4}", 2, func(l *LoadPlan) {
			l.InFlight, l.Rate, l.AtMost, l.Workers = 2, 10, 40, 4
			l.Stages[0].InFlight, l.Stages[0].Rate = 0, 10
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse("x.yaml", []byte("scenario: a\ntarget: {pid: 1}\nload: "+c.load))
			require.NoError(t, err)
			r, err := s.Resolve(Overrides{InFlight: c.override})
			require.NoError(t, err)
			want := LoadPlan{
				InFlight: 10, Ramp: DefaultRamp, Hold: DefaultWindow, Timeout: DefaultTimeout, Workers: 1,
				Stages:   []Stage{{InFlight: 10, Ramp: DefaultRamp, Hold: DefaultWindow, Capture: true}},
				Protocol: HTTP1, Engine: EngineLean, Results: ResultsSampled,
				Requests: []Request{{Method: "GET", Path: "/", Weight: 1}},
			}
			c.want(&want)
			assert.Equal(t, want, r.Scenario.Load)
			assertRoundTrip(t, r)
		})
	}
}

func TestResolveLoadBad(t *testing.T) {
	for load, c := range map[string]struct {
		o    Overrides
		want string
	}{
		"{stages: [{in_flight: 10, hold: 1s}, {in_flight: 1}]}": {Overrides{InFlight: 1_000_000}, "1000000 in flight were asked for, which makes a stage or the connections 10000000; the most is 1000000"},
		"{in_flight: 10, connections: 20}":                      {Overrides{InFlight: 600_000}, "which makes a stage or the connections 1200000"},
		"{rate: 1/s}":                                           {Overrides{InFlight: 1_000_001}, "must be between 1 and 1000000"},
		"{stages: [" + strings.Repeat("{in_flight: 1, hold: 10m},", 5) + "{in_flight: 1, ramp: 9m}]}": {Overrides{Window: seconds(120)}, "with a capture window of 2m0s the load takes 1h1m0s; it must be at most 1h0m0s"},
	} {
		s, err := Parse("x.yaml", []byte("scenario: a\ntarget: {pid: 1}\nload: "+load))
		require.NoError(t, err)
		_, err = s.Resolve(c.o)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestPeak(t *testing.T) {
	assert.Equal(t, 9, LoadPlan{InFlight: 3, Stages: []Stage{{InFlight: 9}, {InFlight: 3}}}.Peak())
	assert.Equal(t, 40, LoadPlan{InFlight: 3, AtMost: 40, Stages: []Stage{{Rate: 9}}}.Peak())
	assert.Equal(t, 0, LoadPlan{Stages: []Stage{{Capture: true}, {}}}.Captured())
	assert.Equal(t, 1, LoadPlan{Stages: []Stage{{}, {}}}.Captured())
}

func TestParseBadLoad(t *testing.T) {
	for load, want := range map[string][]string{
		"{in_flight: 0}":          {"3:19: load.in_flight: is 0; it must be between 1 and 1000000"},
		"{rate: 1/s, at_most: 0}": {"3:28: load.at_most: is 0; it must be between 1 and 1000000"},
		"{rate: 1/s, at_most: 5, in_flight: 6}": {
			"3:28: load.at_most: is 5; it must be at least in_flight, which is 6",
		},
		"{in_flight: 6, at_most: 6}": {"3:31: load.at_most: has no meaning in a closed loop, where in_flight is the most; only an open loop (rate) has it"},
		"{stages: []}":               {"3:16: load.stages: is empty; list the levels, such as {in_flight: 100, ramp: 2s, hold: 5s}, or remove it"},
		"{stages: [{in_flight: 1}], in_flight: 1, ramp: 0s, hold: 1s, rate: 1/s}": {
			"3:45: load.in_flight: cannot stand beside stages; each stage of a closed loop has its own",
			"3:54: load.ramp: cannot stand beside stages; each stage has its own",
			"3:64: load.hold: cannot stand beside stages; each stage has its own",
			"3:74: load.rate: cannot stand beside stages; each stage of an open loop has its own",
		},
		"{stages: [{in_flight: 1, rate: 1/s}, {ramp: 1s}, {rate: 1/s, ramp: 20m}, {in_flight: 0}]}": {
			"3:17: load.stages[0]: has in_flight and rate; a stage of a closed loop has in_flight, one of an open loop rate",
			"3:17: load.stages[0]: takes no time; give it a ramp or a hold",
			"3:44: load.stages[1]: has no level; give it in_flight (closed loop) or rate (open loop)",
			"3:74: load.stages[2].ramp: is 20m0s; it must be between 0s and 10m0s",
			"3:92: load.stages[3].in_flight: is 0; it must be between 1 and 1000000",
		},
		"{stages: [{in_flight: 1, hold: 1s}, {rate: 1/s}]}": {
			"3:43: load.stages[1]: is of another loop than the stages before it; give all of them in_flight (closed loop) or all of them rate (open loop)",
		},
		"{stages: [{in_flight: 1, capture: true}, {in_flight: 2, capture: true}, {in_flight: 3}]}": {
			"3:48: load.stages[1]: takes no time; give it a ramp or a hold",
			"3:72: load.stages[1].capture: is true, as it is in stages[0]; the window begins in one of them",
		},
		"{stages: [" + strings.Repeat("{rate: 1/s},", 101) + "]}":          {"3:16: load.stages: are 101; there can be at most 100"},
		"{stages: [" + strings.Repeat("{rate: 1/s, hold: 10m},", 7) + "]}": {"3:16: load.stages: take 1h10m0s together; it must be at most 1h0m0s"},
		"{stages: [{in_flight: 9, hold: 1s}, {in_flight: 1}], workers: 2}": {"3:69: load.workers: is 2; it must not exceed in_flight of the captured stage, which is 1"},
		"{in_flight: 1, workers: 65}":                                      {"3:31: load.workers: is 65; it must be between 1 and 64"},
		"{rate: 1/s, at_most: 3, workers: 4}":                              {"3:40: load.workers: is 4; it must not exceed at_most, which is 3"},
		"{stages: [{in_flight: 9, hold: 1s}, {in_flight: 1}], connections: 8}": {
			"3:73: load.connections: is 8; it must be at least the most in flight, which is 9: HTTP/1.1 carries one request a connection at a time"},
		"{rate: 1/s, connections: 8}":                    {"3:32: load.connections: is 8; it must be at least at_most, which is 10000: HTTP/1.1 carries one request a connection at a time"},
		"{in_flight: 1, connections: -1}":                {"3:35: load.connections: is -1; it must be between 1 and 1000000"},
		"{in_flight: 1, from: []}":                       {"3:28: load.from: is empty; list addresses of this machine, such as 127.0.0.1, or remove it"},
		"{in_flight: 1, protocol: http/3}":               {`3:32: load.protocol: unknown protocol "http/3"; did you mean "http/2"?`},
		"{in_flight: 1, engine: fast}":                   {`3:30: load.engine: unknown engine "fast"; known: lean, net/http`},
		"{in_flight: 1, results: sample}":                {`3:31: load.results: unknown choice of results "sample"; did you mean "sampled"?`},
		"{in_flight: 1, engine: lean, protocol: http/2}": {"3:30: load.engine: is lean, which speaks HTTP/1.1 alone; with http/2 it is net/http"},
		"{in_flight: 1, from: [127.0.0.1, localhost, 127.0.0.1, '::1', 0.0.0.0, 224.0.0.1, '::ffff:127.0.0.1']}": {
			`3:40: load.from[1]: "localhost" is not an IP address of this machine, such as 127.0.0.1 or ::1`,
			`3:51: load.from[2]: 127.0.0.1 is listed twice`,
			`3:62: load.from[3]: ::1 is not of the kind of 127.0.0.1; a server is reached by IPv4 or by IPv6`,
			`3:69: load.from[4]: "0.0.0.0" is not an IP address of this machine, such as 127.0.0.1 or ::1`,
			`3:78: load.from[5]: "224.0.0.1" is not an IP address of this machine, such as 127.0.0.1 or ::1`,
			`3:89: load.from[6]: "::ffff:127.0.0.1" is not an IP address of this machine, such as 127.0.0.1 or ::1`,
		},
		"{in_flight: 1, values: {User: a, seq: b.txt, x: ''}}": {
			`3:30: load.values: "User" is not a name of values; use a lower-case letter, then lower-case letters, digits and _`,
			`3:45: load.values.seq: the placeholder {seq} has a meaning of its own; choose another name`,
			`3:55: load.values.x: "" is not the path of a file`,
		},
		"{in_flight: 1, targets: x, requests: [{path: /}], values: {u: v.txt}}": {
			`3:31: load.targets: is given, and requests too; remove one of them`,
			`3:65: load.values: has no meaning with targets, which are sent as they stand in their file`,
		},
		"{in_flight: 1, targets: ''}": {`3:31: load.targets: "" is not the path of a file`},
		"{in_flight: 1, values: {user: u.txt, item: i.CSV}, requests: [{path: '/{usr}/{x}', body: '{\"a\": {me}, {user2.id} {seq.id} {user.any} {item}'}]}": {
			`3:76: load.requests[0].path: unknown placeholder {usr}; did you mean "{user}"?`,
			`3:76: load.requests[0].path: unknown placeholder {x}; known here: {seq}, {token}, {item}, {user}`,
			`3:96: load.requests[0].body: unknown placeholder {user2.id}; did you mean "{user}"?`,
			`3:96: load.requests[0].body: the placeholder {seq.id} has a column, which only values from a .csv file have; did you mean "{seq}"?`,
			`3:96: load.requests[0].body: the placeholder {user.any} has a column, and "u.txt" has none; did you mean "{user}"?`,
			`3:96: load.requests[0].body: the placeholder {item} names no column of "i.CSV"; write one behind a dot, such as {item.id}`,
		},
		"{in_flight: 1, values: {user: users.json}}": {
			`3:37: load.values.user: "users.json" must end in .txt (a value on each line) or .csv (with names of columns on the first line)`,
		},
		"{in_flight: 1, clients: [{reads: 1B/s}, {share: 1%}, {share: 1%, reads: 1B/s, hangs_up_after: 1s}]}": {
			`3:32: load.clients[0].share: is missing; say how many of the requests such a client sends, such as 2%`,
			`3:47: load.clients[1]: behaves well; give it one of reads, stops_reading_after, sends, hangs_up_after`,
			`3:60: load.clients[2]: behaves badly in more than one way (reads, hangs_up_after); give each a client of its own`,
		},
		"{in_flight: 1, clients: [{share: 1%, stops_reading_after: 0B}, {share: 1%, hangs_up_after: 0s}, {share: 1%, sends: 1B/s}]}": {
			`3:65: load.clients[0].stops_reading_after: is 0B; it must be at least 1B`,
			`3:98: load.clients[1].hangs_up_after: is 0s; it must be between 1ms and 10m0s`,
			`3:122: load.clients[2].sends: is how fast a body is sent, and no request has one; give a request a body`,
		},
		"{in_flight: 1, clients: [{share: 60%, reads: 1B/s}, {share: 40.5%, reads: 2B/s}]}": {
			`3:31: load.clients: have 100.5% of the requests together; it must be at most 100%`,
		},
		"{in_flight: 1, clients: [{share: 2, reads: 1KiB}]}": {
			`3:40: load.clients[0].share: "2" is not a share; write a number above 0 and up to 100 with a percent sign, such as 2% or 0.5%`,
			`3:50: load.clients[0].reads: "1KiB" is not a speed; write a whole number above 0 with a unit, such as 100B/s or 1KiB/s`,
		},
		"{in_flight: 1, process: {gomaxprocs: 0, gogc: -1, memory: 1MiB}}": {
			`3:44: load.process.gomaxprocs: is 0; it must be between 1 and 1024`,
			`3:53: load.process.gogc: is -1; it must be between 1 and 10000`,
			`3:65: load.process.memory: is 1MiB; it must be between 16MiB and 1024GiB`,
		},
		"{in_flight: 1, process: {cpus: 1-0}}": {`3:38: load.process.cpus: "1-0" is not a set of CPUs; write their numbers, from 0 to 1023, as taskset -c takes them, such as 0 or 0-2,5`},
	} {
		_, err := Parse("f.yaml", []byte("scenario: a\ntarget: {pid: 1}\nload: "+load))
		require.Error(t, err, load)
		for i := range want {
			want[i] = "f.yaml:" + want[i]
		}
		assert.Equal(t, want, strings.Split(err.Error(), "\n"), load)
	}
}

func TestSharesThatMakeAWhole(t *testing.T) {
	_, err := Parse("x.yaml", []byte("scenario: a\ntarget: {pid: 1}\nload: {in_flight: 1, clients: ["+
		strings.Repeat("{share: 33.3%, reads: 1B/s},", 3)+"{share: 0.1%, reads: 1B/s}]}"))
	assert.NoError(t, err, "decimal fractions do not add up exactly")
}

func TestParseBadTLS(t *testing.T) {
	for target, want := range map[string]string{
		"{url: 'http://x', tls: {}}":                      "2:32: target.tls: is given, and the URL does not begin with https://; change one of them",
		"{pid: 1, tls: {ca: ''}}":                         `2:28: target.tls.ca: "" is not the path of a file`,
		"{pid: 1, tls: {ca: x, verify: false}}":           "2:28: target.tls.ca: has no meaning with verify: false; remove one of them",
		"{pid: 1, tls: {server_name: 'https://x'}}":       `2:37: target.tls.server_name: "https://x" is not the name of a server, such as shop.test`,
		"{pid: 1, tls: {sever_name: x}}":                  `2:24: target.tls.sever_name: unknown field; did you mean "server_name"?`,
		"{pid: 1, cpus: 0}":                               "2:24: target.cpus: has no meaning for this target; only a target that is started (package, command) has it",
		"{url: 'https://x', tls: {}, address: 'x:1'}":     "2:46: target.address: has no meaning for this target; only a target of pid or command has it",
		"{command: [x, '{port}'], tls: {}, cpus: '0,,1'}": `2:49: target.cpus: "0,,1" is not a set of CPUs; write their numbers, from 0 to 1023, as taskset -c takes them, such as 0 or 0-2,5`,
	} {
		_, err := Parse("f.yaml", []byte("scenario: a\ntarget: "+target+"\nload: {in_flight: 1}"))
		assert.EqualError(t, err, "f.yaml:"+want, target)
	}
	_, err := Parse("f.yaml", []byte("scenario: a\ntarget: {url: 'HTTPS://x'}\nload: {in_flight: 1, engine: lean}"))
	assert.EqualError(t, err, "f.yaml:3:30: load.engine: is lean, which does not speak TLS, and the target does; with TLS it is net/http")
}

func TestLoadScalars(t *testing.T) {
	for in, want := range map[string]ByteRate{"1KiB/s": 1024, "100B/s": 100, "3MB/s": 3e6} {
		var r ByteRate
		require.NoError(t, r.UnmarshalText([]byte(in)), in)
		assert.Equal(t, want, r)
		assert.Equal(t, in, r.String())
	}
	for _, in := range []string{"", "1KiB", "0B/s", "/s", "1/s", "1.5KiB/s", "1KiB/m", "1KiB/s/s", "-1B/s", "99999999999999999999B/s"} {
		assert.Error(t, new(ByteRate).UnmarshalText([]byte(in)), in)
	}
	for in, want := range map[string]float64{"2%": 0.02, "0.5%": 0.005, "100%": 1, "7%": 0.07} {
		var s Share
		require.NoError(t, s.UnmarshalText([]byte(in)), in)
		assert.InDelta(t, want, s.Fraction(), 1e-12)
		assert.Equal(t, in, s.String())
	}
	for _, in := range []string{"", "2", "0%", "-1%", "100.1%", "1e1%", ".5%", "2 %", "%", strings.Repeat("9", 400) + "%", "0." + strings.Repeat("0", 400) + "1%"} {
		assert.Error(t, new(Share).UnmarshalText([]byte(in)), in)
	}
	for in, want := range map[string][]int{"0": {0}, "0-2,5": {0, 1, 2, 5}, "5,0-1,1": {0, 1, 5}, "1023": {1023}} {
		var c CPUSet
		require.NoError(t, c.UnmarshalText([]byte(in)), in)
		assert.Equal(t, want, c.List())
	}
	for _, in := range []string{"", "-1", "1024", "2-1", "0-", "0,", ",", "a", "0 1", "0-2:2", strings.Repeat("0-1023,", 5000) + "0"} {
		assert.Error(t, new(CPUSet).UnmarshalText([]byte(in)), in)
	}
	assert.Nil(t, CPUSet("").List())
}

// What version 1 recorded is read, with what was true of it then.
func TestReadResolvedOfVersion1(t *testing.T) {
	for _, recording := range corpus.Bundles(t) {
		t.Run(recording.Name, func(t *testing.T) {
			data, err := recording.Open(t).GroundTruth()
			require.NoError(t, err)
			r, err := ReadResolved(data)
			require.NoError(t, err)
			var recorded struct{ Schema int }
			require.NoError(t, json.Unmarshal(data, &recorded))
			if recorded.Schema != 1 {
				assertRoundTrip(t, r) // recorded since
				return
			}
			l := r.Scenario.Load
			assert.Equal(t, []Stage{{InFlight: l.InFlight, Ramp: l.Ramp, Hold: l.Hold, Capture: true}}, l.Stages)
			assert.Positive(t, l.InFlight)
			assert.Equal(t, EngineNetHTTP, l.Engine)
			assert.Equal(t, ResultsWhole, l.Results)
			assertRoundTrip(t, r)
		})
	}

	s, err := Parse("x.yaml", []byte("scenario: a\ntarget: {url: 'https://x'}\nload: {in_flight: 5, rate: 9/s}\n"))
	require.NoError(t, err)
	old, err := json.Marshal(Resolved{Schema: 1, Scenario: *s, Truth: []Truth{}})
	require.NoError(t, err)
	r, err := ReadResolved(old)
	require.NoError(t, err)
	assert.Equal(t, ResolvedSchema, r.Schema)
	assert.Equal(t, []Stage{{Rate: 9, Ramp: DefaultRamp, Hold: DefaultWindow, Capture: true}}, r.Scenario.Load.Stages)
	assert.Equal(t, 5, r.Scenario.Load.AtMost, "it was the most in flight")
	assert.Equal(t, &TLS{Verify: true}, r.Scenario.Target.TLS)
	assertRoundTrip(t, r)
}
