package scenario

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/strictyaml"
)

// The scenarios that the project ships must hold, with their ground truth.
func TestShippedScenarios(t *testing.T) {
	files, err := filepath.Glob("../../scenarios/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	names := map[string]string{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Load(file)
			require.NoError(t, err)
			assert.NotEmpty(t, s.About, "a shipped scenario says what it is about")
			assert.Empty(t, names[s.Name], "the name %s is taken", s.Name)
			names[s.Name] = file
			for _, variant := range s.Variants() {
				r, err := s.Resolve(Overrides{Variant: variant})
				require.NoError(t, err)
				assertRoundTrip(t, r)
				for _, truth := range r.Truth {
					assert.Equal(t, s.Target.Package != "", truth.Line > 0, "a command's source is not looked at")
				}
			}
		})
	}
}

func assertRoundTrip(t *testing.T, r Resolved) {
	t.Helper()
	data, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	back, err := ReadResolved(data)
	require.NoError(t, err)
	again, err := json.MarshalIndent(back, "", "  ")
	require.NoError(t, err)
	assert.Equal(t, string(data), string(again))
}

const minimal = "scenario: a/b\ntarget: {command: [./server, -listen, \"{listen}\"]}\nload: {in_flight: 10}\n"

func TestParseFull(t *testing.T) {
	s, err := Parse("scenarios/full.yaml", []byte(`
scenario: lock-contention/held-over-sleep
about: A session store sleeps inside its critical section.
target:
  package: ./targets/lockcontention
  variant: flawed
  knobs: {hold: 10ms, size: 5, fast: true}
  args: [-v, 3]
  env: {GOGC: 400}
  debug: "{debug}/debug/pprof"
  metrics: none
  ready: /ready
  start_timeout: 20s
  gomaxprocs: 2
load:
  in_flight: 10000
  rate: 5000/s
  ramp: 0s
  hold: 12s
  timeout: 3m
  requests:
    - {path: "/session?id={seq}"}
    - {method: POST, path: /session, header: {X-Id: "{token}"}, body: "{token}", weight: 3, check: {token: true}}
capture:
  window: 8s
  ebpf: [syscalls]
  pprof: []
  trace: {for: 4s, at_most: 32MiB}
expect:
  findings:
    - {cause: lock-contention, at: "(*store).get", dimensions: [ebpf, pprof, trace]}
`))
	require.NoError(t, err)
	assert.Equal(t, Target{
		Package: "./targets/lockcontention", Variant: Flawed,
		Knobs: map[string]string{"hold": "10ms", "size": "5", "fast": "true"},
		Args:  []string{"-v", "3"}, Env: map[string]string{"GOGC": "400"},
		Debug: "{debug}/debug/pprof", Metrics: "none", Ready: "/ready",
		StartTimeout: Duration(20 * time.Second), GOMAXPROCS: 2,
	}, s.Target)
	assert.Equal(t, LoadPlan{
		InFlight: 10000, Rate: 5000, Hold: Duration(12 * time.Second), Timeout: Duration(3 * time.Minute),
		Requests: []Request{
			{Path: "/session?id={seq}"},
			{Method: "POST", Path: "/session", Header: map[string]string{"X-Id": "{token}"}, Body: "{token}", Weight: 3, Check: Check{Token: true}},
		},
	}, s.Load)
	assert.Equal(t, Capture{
		Window: Duration(8 * time.Second), EBPF: []string{"syscalls"}, Pprof: []string{},
		Trace: &Trace{For: Duration(4 * time.Second), AtMost: 32 << 20},
	}, s.Capture)
	assert.Equal(t, Expect{
		Findings:    []ExpectedFinding{{Cause: "lock-contention", At: "(*store).get", Dimensions: []string{"ebpf", "pprof", "trace"}}},
		NothingElse: true,
	}, s.Expect)
	assert.Equal(t, "scenarios/full.yaml", s.File())
	assert.True(t, s.Target.HasTwin())
}

func TestResolveDefaults(t *testing.T) {
	s, err := Parse("x.yaml", []byte(minimal))
	require.NoError(t, err)
	r, err := s.Resolve(Overrides{})
	require.NoError(t, err)
	assert.Equal(t, Resolved{
		Schema: 2,
		Scenario: Scenario{
			Name:   "a/b",
			Target: Target{Command: []string{"./server", "-listen", "{listen}"}, Ready: "/", StartTimeout: DefaultStartTimeout},
			Load: LoadPlan{InFlight: 10, Ramp: DefaultRamp, Hold: DefaultWindow, Timeout: DefaultTimeout,
				Stages:  []Stage{{InFlight: 10, Ramp: DefaultRamp, Hold: DefaultWindow, Capture: true}},
				Workers: 1, Protocol: HTTP1, Engine: EngineLean, Results: ResultsSampled,
				Requests: []Request{{Method: "GET", Path: "/", Weight: 1}}},
			Capture: Capture{Window: DefaultWindow, EBPF: DefaultEBPFProbes(), Slow: DefaultSlow, Pprof: PprofProbes(), Trace: &Trace{For: DefaultTraceFor, AtMost: DefaultTraceAtMost}},
			origin:  s.origin,
		},
		Truth: []Truth{},
	}, r)
	assert.Empty(t, s.Load.Requests, "the scenario stays as written")
	assertRoundTrip(t, r)
}

func TestResolveSwitchedOff(t *testing.T) {
	s, err := Parse("x.yaml", []byte(minimal+"capture: {ebpf: [], pprof: [], trace: none}\nexpect: {}\n"))
	require.NoError(t, err)
	r, err := s.Resolve(Overrides{})
	require.NoError(t, err)
	assert.Equal(t, Capture{Window: DefaultWindow, EBPF: []string{}, Slow: DefaultSlow, Pprof: []string{}}, r.Scenario.Capture)
	assert.True(t, r.Scenario.Expect.NothingElse, "an expectation that names nothing expects nothing to be found")
	assertRoundTrip(t, r)
	again, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(again), `"ebpf":[],"slow":"10ms","pprof":[],"trace":null`)
}

func TestResolveOverrides(t *testing.T) {
	s, err := Load("testdata/module/scenarios/good.yaml")
	require.NoError(t, err)
	r, err := s.Resolve(Overrides{Variant: Fixed, InFlight: 500, Window: Duration(3 * time.Second)})
	require.NoError(t, err)
	assert.Equal(t, Fixed, r.Variant)
	assert.Equal(t, Fixed, r.Scenario.Target.Variant)
	assert.Equal(t, 500, r.Scenario.Load.InFlight)
	assert.Equal(t, Duration(3*time.Second), r.Scenario.Capture.Window)
	assert.Equal(t, Duration(3*time.Second), r.Scenario.Capture.Trace.For)
	assert.Equal(t, "http://{debug}/debug/pprof", r.Scenario.Target.Debug)
	assert.Equal(t, Flawed, s.Target.Variant, "the scenario stays as written")
	assert.Len(t, r.Truth, 2, "both variants have the truth")

	for name, o := range map[string]Overrides{
		"unknown variant \"broken\"": {Variant: "broken"},
		"must be between 1 and":      {InFlight: -1},
		"it must be between 1s and":  {Window: Duration(time.Millisecond)},
	} {
		_, err := s.Resolve(o)
		assert.ErrorContains(t, err, name)
	}
	command, err := Parse("x.yaml", []byte(minimal))
	require.NoError(t, err)
	_, err = command.Resolve(Overrides{Variant: Fixed})
	assert.ErrorContains(t, err, "the target has no variants")
}

func TestCommandWithTwin(t *testing.T) {
	s, err := Parse("x.yaml", []byte("scenario: a\ntarget: {command: [./x, \"-v={variant}\"], env: {ADDR: \"{listen}\"}}\nload: {in_flight: 1}"))
	require.NoError(t, err)
	assert.True(t, s.Target.HasTwin())
	for asked, want := range map[Variant]Variant{"": Flawed, Flawed: Flawed, Fixed: Fixed} {
		r, err := s.Resolve(Overrides{Variant: asked})
		require.NoError(t, err)
		assert.Equal(t, want, r.Variant)
		assertRoundTrip(t, r)
	}
}

func TestDebugURLs(t *testing.T) {
	for in, want := range map[string]string{
		"debug: none":                                    "",
		"debug: \"{address}/debug/pprof\"":               "http://{address}/debug/pprof",
		"debug: \"https://{address}/debug/pprof/\"":      "https://{address}/debug/pprof",
		"debug: localhost:6060/debug/pprof":              "http://localhost:6060/debug/pprof",
		"ready: /healthz":                                "",
		"debug: 'http://127.0.0.1:6060/debug/pprof?x=1'": "http://127.0.0.1:6060/debug/pprof?x=1",
	} {
		s, err := Parse("x.yaml", []byte("scenario: a\ntarget:\n  pid: 4711\n  address: 127.0.0.1:8080\n  "+in+"\nload: {in_flight: 1}"))
		require.NoError(t, err, in)
		r, err := s.Resolve(Overrides{})
		require.NoError(t, err, in)
		assert.Equal(t, want, r.Scenario.Target.Debug, in)
	}
}

// replace puts text in place of one field of a scenario that is right.
func TestParseBad(t *testing.T) {
	base := map[string]string{
		"scenario": "scenario: a/b",
		"target":   "target: {package: ./t}",
		"load":     "load: {in_flight: 10}",
		"capture":  "capture: {window: 5s}",
		"expect":   "expect: {findings: [{cause: stalled, at: main}]}",
	}
	order := []string{"scenario", "target", "load", "capture", "expect"}
	for name, c := range map[string]struct {
		with map[string]string // field: its line; empty: without it
		want []string
	}{
		"no name":             {map[string]string{"scenario": "about: x"}, []string{`f.yaml:1:1: scenario: is missing; name the scenario, such as lock-contention/held-over-sleep`}},
		"bad name":            {map[string]string{"scenario": "scenario: ../x"}, []string{`f.yaml:1:11: scenario: "../x" is not a name; use lower-case words joined by "-", in parts joined by "/"`}},
		"unknown field":       {map[string]string{"load": "load: {inflight: 10}"}, []string{`f.yaml:3:8: load.inflight: unknown field; did you mean "in_flight"?`}},
		"no load":             {map[string]string{"load": ""}, []string{`f.yaml:1:1: load.in_flight: is missing; say how many requests to hold in flight, such as 10000, or give a rate for an open loop, or stages`}},
		"no target":           {map[string]string{"target": "target: {}"}, []string{"f.yaml:2:9: target: names no server; give one of package, command, pid, url"}},
		"two targets":         {map[string]string{"target": "target: {pid: 3, package: ./x}"}, []string{"f.yaml:2:9: target: names more than one server (package, pid); give one of them"}},
		"package without dot": {map[string]string{"target": "target: {package: targets/x}"}, []string{`f.yaml:2:19: target.package: "targets/x" must begin with ./; did you mean "./targets/x"?`}},
		"package outside":     {map[string]string{"target": "target: {package: ./x/../../y}"}, []string{`f.yaml:2:19: target.package: "./x/../../y" must be a directory inside the module, such as ./targets/lockcontention`}},
		"package above":       {map[string]string{"target": "target: {package: ../y}"}, []string{`f.yaml:2:19: target.package: "../y" must be a directory inside the module, such as ./targets/lockcontention`}},
		"package absolute":    {map[string]string{"target": "target: {package: /y}"}, []string{`f.yaml:2:19: target.package: "/y" must be a directory inside the module, such as ./targets/lockcontention`}},
		"variant":             {map[string]string{"target": "target: {package: ./t, variant: fixd}"}, []string{`f.yaml:2:33: target.variant: unknown variant "fixd"; did you mean "fixed"?`}},
		"near miss that is flawed": {map[string]string{"target": "target: {package: ./t}", "expect": "expect: {near_miss_of: [lock-contention]}"}, []string{
			"f.yaml:2:9: target.variant: is flawed; a near miss is healthy: write fixed",
		}},
		"near miss with findings": {map[string]string{"expect": "expect: {near_miss_of: [lock-contension], findings: [{cause: gc-pressure}]}"}, []string{
			"f.yaml:2:9: target.variant: is flawed; a near miss is healthy: write fixed",
			"f.yaml:5:24: expect.near_miss_of: names what this target only looks like, and expect.findings what it shows; remove one of them",
			`f.yaml:5:25: expect.near_miss_of[0]: unknown cause "lock-contension"; did you mean "lock-contention"?`,
			"f.yaml:5:54: expect.findings[0].at: is missing; name the function that holds the marker comment, such as (*store).get",
		}},
		"knob name": {map[string]string{"target": "target: {package: ./t, knobs: {\"a=b\": 1}}"}, []string{`f.yaml:2:31: target.knobs: "a=b" is not the name of a knob`}},
		"env name":  {map[string]string{"target": "target: {package: ./t, env: {\"A=B\": 1}}"}, []string{`f.yaml:2:29: target.env: "A=B" cannot be set in an environment`}},
		"not for this target": {map[string]string{"target": "target: {url: \"http://x\", variant: fixed, knobs: {a: 1}, args: [x], env: {A: b}, gomaxprocs: 1, start_timeout: 1s, address: \"x:1\"}"}, []string{
			"f.yaml:2:36: target.variant: has no meaning for this target; only a package target or a command with {variant} has it",
			"f.yaml:2:50: target.knobs: has no meaning for this target; only a package target has it",
			"f.yaml:2:64: target.args: has no meaning for this target; only a package target has it",
			"f.yaml:2:74: target.env: has no meaning for this target; only a target that is started (package, command) has it",
			"f.yaml:2:94: target.gomaxprocs: has no meaning for this target; only a target that is started (package, command) has it",
			"f.yaml:2:112: target.start_timeout: has no meaning for this target; only a target that is started (package, command) has it",
			"f.yaml:2:125: target.address: has no meaning for this target; only a target of pid or command has it",
		}},
		"gomaxprocs":          {map[string]string{"target": "target: {package: ./t, gomaxprocs: -1}"}, []string{"f.yaml:2:36: target.gomaxprocs: is -1; it must be 1 or more"}},
		"pid":                 {map[string]string{"target": "target: {pid: -1, address: \"x:1\"}"}, []string{"f.yaml:2:15: target.pid: is -1; a process id is above 0"}},
		"address":             {map[string]string{"target": "target: {pid: 1, address: localhost}"}, []string{`f.yaml:2:27: target.address: "localhost" is not host:port, such as 127.0.0.1:8080`}},
		"port":                {map[string]string{"target": "target: {pid: 1, address: \"x:70000\"}"}, []string{`f.yaml:2:27: target.address: "x:70000" is not host:port, such as 127.0.0.1:8080`}},
		"command, no port":    {map[string]string{"target": "target: {command: [./x]}"}, []string{"f.yaml:2:9: target.address: is missing; put {port} or {listen} into the command, or say where it listens, such as 127.0.0.1:8080"}},
		"command, two ports":  {map[string]string{"target": "target: {command: [./x, \"{port}\"], address: \"x:1\"}"}, []string{"f.yaml:2:45: target.address: is given, and the command has {port} or {listen} too; remove one of them"}},
		"command, slip":       {map[string]string{"target": "target: {command: [./x, \"{listn}\", '{\"a\": {B}}', \"{port}\"]}"}, []string{`f.yaml:2:25: target.command[1]: unknown placeholder {listn}; did you mean "{listen}"?`}},
		"build":               {map[string]string{"target": "target: {package: ./t, build: {go: \"1.23.0\"}}"}, []string{`f.yaml:2:36: target.build.go: "1.23.0" is not a Go release that targets are built with: write 1.24.0 or later, with all three numbers`}},
		"build, minor":        {map[string]string{"target": "target: {command: [./x, \"{port}\"], build: {go: \"1.25\"}}"}, []string{"f.yaml:2:43: target.build: has no meaning for this target; only a package target has it", `f.yaml:2:48: target.build.go: "1.25" is not a Go release that targets are built with: write 1.24.0 or later, with all three numbers`}},
		"command, program":    {map[string]string{"target": "target: {command: [\"./x-{variant}-{port}\", \"{port}\"]}"}, []string{"f.yaml:2:20: target.command[0]: unknown placeholder {port}; known here: {variant}"}},
		"command, no program": {map[string]string{"target": "target: {command: ['', \"{port}\"]}"}, []string{"f.yaml:2:20: target.command[0]: is empty; name the program to start"}},
		"env placeholder": {map[string]string{"target": "target: {package: ./t, env: {A: \"{prot}\"}, args: [\"{variants}\"]}"}, []string{
			`f.yaml:2:33: target.env.A: unknown placeholder {prot}; did you mean "{port}"?`,
			`f.yaml:2:51: target.args[0]: unknown placeholder {variants}; did you mean "{variant}"?`,
		}},
		"url":               {map[string]string{"target": "target: {url: example.com}"}, []string{`f.yaml:2:15: target.url: "example.com" is not the URL of a server, such as http://127.0.0.1:8080`}},
		"debug placeholder": {map[string]string{"target": "target: {package: ./t, debug: \"{adress}/x\"}"}, []string{`f.yaml:2:31: target.debug: unknown placeholder {adress}; did you mean "{address}"?`}},
		"no debug port":     {map[string]string{"target": "target: {pid: 1, address: \"x:1\", debug: \"{debug}/x\"}"}, []string{"f.yaml:2:41: target.debug: uses the debug port, and the target has no debug port: put {debug} or {debug_port} into the command, or write the address"}},
		"debug scheme":      {map[string]string{"target": "target: {package: ./t, debug: \"ftp://x\"}"}, []string{`f.yaml:2:31: target.debug: "ftp://x" is not the URL of a server, such as http://127.0.0.1:8080`}},
		"ready":             {map[string]string{"target": "target: {package: ./t, ready: healthz}"}, []string{`f.yaml:2:31: target.ready: "healthz" is not a path; it begins with "/" and has no spaces`}},
		"start_timeout":     {map[string]string{"target": "target: {package: ./t, start_timeout: 11m}"}, []string{"f.yaml:2:39: target.start_timeout: is 11m0s; it must be between 1ms and 10m0s"}},
		"in_flight":         {map[string]string{"load": "load: {in_flight: 2000000}"}, []string{"f.yaml:3:19: load.in_flight: is 2000000; it must be between 1 and 1000000"}},
		"rate without unit": {map[string]string{"load": "load: {in_flight: 1, rate: 5000}"}, []string{`f.yaml:3:28: load.rate: "5000" is not a rate; write a number above 0 and a unit, such as 5000/s or 300/m`}},
		"rate too high":     {map[string]string{"load": "load: {in_flight: 1, rate: 2000000/s}"}, []string{"f.yaml:3:28: load.rate: is 2000000/s; it must be at most 1000000/s"}},
		"duration":          {map[string]string{"load": "load: {in_flight: 1, ramp: 5}"}, []string{`f.yaml:3:28: load.ramp: "5" is not a duration of 0s or more; write a number with a unit, such as 500ms, 10s or 2m`}},
		"long ramp":         {map[string]string{"load": "load: {in_flight: 1, ramp: 1h}"}, []string{"f.yaml:3:28: load.ramp: is 1h0m0s; it must be between 0s and 10m0s"}},
		"method":            {map[string]string{"load": "load: {in_flight: 1, requests: [{path: /, method: get}]}"}, []string{`f.yaml:3:51: load.requests[0].method: unknown method "get"; did you mean "GET"?`}},
		"no path":           {map[string]string{"load": "load: {in_flight: 1, requests: [{method: GET}]}"}, []string{"f.yaml:3:33: load.requests[0].path: is missing; say what to ask for, such as /"}},
		"path with space":   {map[string]string{"load": "load: {in_flight: 1, requests: [{path: /a b}]}"}, []string{`f.yaml:3:40: load.requests[0].path: "/a b" is not a path; it begins with "/" and has no spaces`}},
		"path escape":       {map[string]string{"load": "load: {in_flight: 1, requests: [{path: /a%zz}]}"}, []string{`f.yaml:3:40: load.requests[0].path: "/a%zz" is not a path: a % must be followed by two hexadecimal digits`}},
		"request placeholder": {map[string]string{"load": "load: {in_flight: 1, requests: [{path: \"/{sequence}\", body: \"{tokn}\"}]}"}, []string{
			`f.yaml:3:40: load.requests[0].path: unknown placeholder {sequence}; known here: {seq}, {token}`,
			`f.yaml:3:61: load.requests[0].body: unknown placeholder {tokn}; did you mean "{token}"?`,
		}},
		"header":            {map[string]string{"load": "load: {in_flight: 1, requests: [{path: /, header: {\"a b\": c}}]}"}, []string{`f.yaml:3:51: load.requests[0].header: "a b" is not a header that HTTP can send`}},
		"weight":            {map[string]string{"load": "load: {in_flight: 1, requests: [{path: /, weight: 1001}]}"}, []string{"f.yaml:3:51: load.requests[0].weight: is 1001; it must be between 1 and 1000"}},
		"short window":      {map[string]string{"capture": "capture: {window: 100ms}"}, []string{"f.yaml:4:19: capture.window: is 100ms; it must be between 1s and 10m0s"}},
		"probe":             {map[string]string{"capture": "capture: {ebpf: [syscall]}"}, []string{`f.yaml:4:18: capture.ebpf[0]: unknown probe "syscall"; did you mean "syscalls"?`}},
		"probe twice":       {map[string]string{"capture": "capture: {pprof: [cpu, cpu]}"}, []string{"f.yaml:4:24: capture.pprof[1]: cpu is listed twice"}},
		"budget":            {map[string]string{"capture": "capture: {budget: 0.05}"}, []string{`f.yaml:4:19: capture.budget: "0.05" is not a share; write a number above 0 and up to 100 with a percent sign, such as 2% or 0.5%`}},
		"budget of nothing": {map[string]string{"capture": "capture: {ebpf: [], budget: 5%}"}, []string{"f.yaml:4:29: capture.budget: is what eBPF probes may cost, and capture.ebpf switches all of them off; remove one of them"}},
		"no list":           {map[string]string{"capture": "capture: {ebpf: none}"}, []string{`f.yaml:4:17: capture.ebpf: must be a list, is "none"`}},
		"custom unlisted":   {map[string]string{"capture": "capture: {ebpf: [sched], custom: [{name: a, function: main.f}]}"}, []string{"f.yaml:4:34: capture.custom: is given, and capture.ebpf does not list custom; add it there"}},
		"custom of nothing": {map[string]string{"capture": "capture: {ebpf: [custom]}"}, []string{"f.yaml:4:10: capture.custom: is missing; capture.ebpf lists custom, so say which functions or tracepoints it is made of"}},
		"custom without":    {map[string]string{"capture": "capture: {custom: [{name: a}]}"}, []string{"f.yaml:4:20: capture.custom[0]: names nothing to probe; give function, such as main.(*store).get, or tracepoint, such as tcp/tcp_retransmit_skb"}},
		"custom with both":  {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f, tracepoint: a/b}]}"}, []string{"f.yaml:4:20: capture.custom[0]: names a function and a tracepoint; give one of them"}},
		"custom name":       {map[string]string{"capture": "capture: {custom: [{name: A b, function: main.f}]}"}, []string{`f.yaml:4:27: capture.custom[0].name: "A b" is not a name; use lower-case words joined by "-"`}},
		"custom twice":      {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f}, {name: a, function: main.g}]}"}, []string{"f.yaml:4:56: capture.custom[1].name: a is the name of a probe above it"}},
		"custom function":   {map[string]string{"capture": "capture: {custom: [{name: a, function: serve}]}"}, []string{`f.yaml:4:40: capture.custom[0].function: "serve" is not a function with its package, such as main.serve or main.(*store).get`}},
		"custom tracepoint": {map[string]string{"capture": "capture: {custom: [{name: a, tracepoint: a, time: true}]}"}, []string{`f.yaml:4:42: capture.custom[0].tracepoint: "a" is not a tracepoint; write group/name, such as tcp/tcp_retransmit_skb`}},
		"custom point time": {map[string]string{"capture": "capture: {custom: [{name: a, tracepoint: a/b, time: true}]}"}, []string{"f.yaml:4:53: capture.custom[0].time: has no meaning for a tracepoint, which happens at once; only a function has it"}},
		"custom slower":     {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f, slower_than: 1ms}]}"}, []string{"f.yaml:4:61: capture.custom[0].slower_than: needs time: true, or nothing is known to be slow"}},
		"custom everywhere": {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f, everywhere: true}]}"}, []string{"f.yaml:4:60: capture.custom[0].everywhere: has no meaning for a function, which is the target's; only a tracepoint has it"}},
		"custom keep":       {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f, argument: {name: n, keep: 100}}]}"}, []string{`f.yaml:4:74: capture.custom[0].argument.keep: "100" is not a comparison; write ==, !=, <, <=, > or >= and a whole number, such as "> 100"`}},
		"custom argument":   {map[string]string{"capture": "capture: {custom: [{name: a, function: main.f, argument: {keep: \"> 1\"}}]}"}, []string{`f.yaml:4:58: capture.custom[0].argument.name: "" is not the name of a number; write the parameter's, such as n, len(p) or opts.Limit`}},
		"trace as a list":   {map[string]string{"capture": "capture: {trace: []}"}, []string{"f.yaml:4:18: capture.trace: must be a mapping such as {for: 5s, at_most: 64MiB}, or the word none to switch the trace off"}},
		"trace field":       {map[string]string{"capture": "capture: {trace: {fro: 5s}}"}, []string{`f.yaml:4:19: capture.trace.fro: unknown field; did you mean "for"?`}},
		"long trace":        {map[string]string{"capture": "capture: {window: 5s, trace: {for: 6s}}"}, []string{"f.yaml:4:36: capture.trace.for: is 6s; the trace lies inside the capture window of 5s"}},
		"trace size":        {map[string]string{"capture": "capture: {trace: {at_most: 64KiB}}"}, []string{"f.yaml:4:28: capture.trace.at_most: is 64KiB; it must be between 1MiB and 1GiB"}},
		"size without unit": {map[string]string{"capture": "capture: {trace: {at_most: 64}}"}, []string{`f.yaml:4:28: capture.trace.at_most: "64" is not a size; write a whole number with a unit, such as 512KiB or 64MiB`}},
		"no expectation":    {map[string]string{"expect": ""}, []string{"f.yaml:1:1: expect.findings: is missing; say which cause this target shows, and where, or what it is a near_miss_of"}},
		"cause":             {map[string]string{"expect": "expect: {findings: [{cause: lock-contension, at: x}]}"}, []string{`f.yaml:5:29: expect.findings[0].cause: unknown cause "lock-contension"; did you mean "lock-contention"?`}},
		"no cause":          {map[string]string{"expect": "expect: {findings: [{at: x}]}"}, []string{"f.yaml:5:21: expect.findings[0].cause: is missing; name a cause, such as lock-contention"}},
		"no at":             {map[string]string{"expect": "expect: {findings: [{cause: stalled}]}"}, []string{"f.yaml:5:21: expect.findings[0].at: is missing; name the function that holds the marker comment, such as (*store).get"}},
		"dimension":         {map[string]string{"expect": "expect: {findings: [{cause: stalled, at: x, dimensions: [proc]}]}"}, []string{`f.yaml:5:58: expect.findings[0].dimensions[0]: unknown dimension "proc"; did you mean "pprof"?`}},
		"the same twice":    {map[string]string{"expect": "expect: {findings: [{cause: stalled, at: x}, {cause: stalled, at: x}]}"}, []string{"f.yaml:5:46: expect.findings[1]: expects the same finding as an entry above it"}},
	} {
		t.Run(name, func(t *testing.T) {
			lines := maps.Clone(base)
			maps.Copy(lines, c.with)
			var text []string
			for _, field := range order {
				text = append(text, lines[field])
			}
			_, err := Parse("f.yaml", []byte(strings.Join(text, "\n")))
			require.Error(t, err)
			assert.Equal(t, c.want, strings.Split(err.Error(), "\n"))
			assert.Len(t, strictyaml.All(err), len(c.want))
		})
	}
}

func TestLoadErrors(t *testing.T) {
	_, err := Load("testdata/none.yaml")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(t.TempDir())
	assert.Error(t, err)
	big := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(big, []byte(strings.Repeat("# ", strictyaml.MaxBytes)), 0o644))
	_, err = Load(big)
	assert.ErrorContains(t, err, "at most")
}

func TestModuleDir(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "scenarios")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	dir, err := ModuleDir(filepath.Join(deep, "s.yaml"))
	require.NoError(t, err)
	assert.Equal(t, deep, dir, "without a go.mod it is the scenario's own directory")
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o644))
	dir, err = ModuleDir(filepath.Join(deep, "s.yaml"))
	require.NoError(t, err)
	assert.Equal(t, root, dir)
	require.NoError(t, os.WriteFile(filepath.Join(root, "a", "go.mod"), nil, 0o644))
	dir, err = ModuleDir(filepath.Join(deep, "s.yaml"))
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "a"), dir, "the nearest counts")
}

func TestScalars(t *testing.T) {
	for in, want := range map[string]Duration{"10s": Duration(10 * time.Second), "1h2m": Duration(62 * time.Minute), "1.5ms": 1500000, "0s": 0, "3µs": 3000} {
		var d Duration
		require.NoError(t, d.UnmarshalText([]byte(in)), in)
		assert.Equal(t, want, d)
	}
	for _, in := range []string{"", "10", "0", "-1s", "+1s", "1 s", "1d", "99999999h", "s", " 1s"} {
		assert.Error(t, new(Duration).UnmarshalText([]byte(in)), in)
	}
	for in, want := range map[string]Rate{"5000/s": 5000, "300/m": 5, "0.5/s": 0.5} {
		var r Rate
		require.NoError(t, r.UnmarshalText([]byte(in)), in)
		assert.Equal(t, want, r)
	}
	for _, in := range []string{"", "5000", "/s", "0/s", "-1/s", "5/h", "1e3/s", "NaN/s", "5/s/s", strings.Repeat("9", 400) + "/s"} {
		assert.Error(t, new(Rate).UnmarshalText([]byte(in)), in)
	}
	for in, want := range map[string]Size{"64MiB": 64 << 20, "1kB": 1000, "2KiB": 2048, "3B": 3, "0B": 0, "1GiB": 1 << 30, "1GB": 1e9, "5MB": 5e6} {
		var s Size
		require.NoError(t, s.UnmarshalText([]byte(in)), in)
		assert.Equal(t, want, s)
		assert.Equal(t, in, s.String())
	}
	for _, in := range []string{"", "64", "MiB", "-1B", "1.5MiB", "1 MiB", "1mib", "9999999999GiB", "99999999999999999999B"} {
		assert.Error(t, new(Size).UnmarshalText([]byte(in)), in)
	}
}

func TestReadResolvedBad(t *testing.T) {
	s, err := Load("testdata/module/scenarios/good.yaml")
	require.NoError(t, err)
	r, err := s.Resolve(Overrides{})
	require.NoError(t, err)
	good, err := json.Marshal(r)
	require.NoError(t, err)
	_, err = ReadResolved(good)
	require.NoError(t, err)
	for name, c := range map[string]struct{ old, new, want string }{
		"no JSON":          {string(good), "hello", "invalid character"},
		"newer":            {`{"schema":2`, `{"schema":3`, "its version is 3, and this chokepoint reads up to 2"},
		"no version":       {`{"schema":2,`, `{`, "its version is 0"},
		"unknown field":    {`"truth":`, `"truht":`, "unknown field"},
		"trailing":         {string(good), string(good) + "{}", "after top-level value"},
		"bad value":        {`"in_flight":10`, `"in_flight":-1`, "load.in_flight: is -1, and the captured stage has 10"},
		"bad stage":        {`[{"in_flight":10`, `[{"in_flight":-1`, "load.stages[0].in_flight: is -1; it must be between 1 and 1000000"},
		"no stages":        {`"stages":[{"in_flight":10,"ramp":"5s","hold":"10s","capture":true}],`, ``, "load.stages: is missing"},
		"stages of old":    {`{"schema":2`, `{"schema":1`, "load.stages: version 1 has none"},
		"captures nothing": {`,"capture":true`, ``, "a default is not filled in"},
		"other ramp":       {`"ramp":"5s"`, `"ramp":"4s"`, "load.ramp: is 4s, and the stages reach the captured level after 5s"},
		"other hold":       {`"hold":"10s"`, `"hold":"4s"`, "load.hold: is 4s, and that of the captured stage is 10s"},
		"other rate":       {`"in_flight":10,`, `"in_flight":10,"rate":"5/s",`, "load.rate: cannot stand beside stages"},
		"no workers":       {`"workers":1,`, ``, "a default is not filled in"},
		"bad duration":     {`"ramp":"5s"`, `"ramp":"x"`, "is not a duration"},
		"variant differs":  {`,"variant":"flawed","truth"`, `,"variant":"fixed","truth"`, "variant \"fixed\" ran"},
		"truth missing":    {`"truth":[{`, `"truth":[],"x":[{`, "unknown field"},
		"truth of another": {`"truth":[{"cause":"lock-contention"`, `"truth":[{"cause":"stalled"`, "the truth is stalled"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, string(good), c.old)
			_, err := ReadResolved([]byte(strings.Replace(string(good), c.old, c.new, 1)))
			assert.ErrorContains(t, err, c.want)
		})
	}
	r.Truth = r.Truth[:1]
	short, err := json.Marshal(r)
	require.NoError(t, err)
	_, err = ReadResolved(short)
	assert.ErrorContains(t, err, "2 findings are expected, and the truth has 1")
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../scenarios/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range slices.Concat(files, []string{"testdata/module/scenarios/good.yaml"}) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(minimal))
	f.Add([]byte(everything))
	f.Add([]byte("scenario: a\ntarget: {url: 'http://x'}\nload: {at_most: 5, stages: [{rate: 1/s, hold: 1s, capture: true}, {rate: 100/m, ramp: 3s}]}\n"))
	f.Add([]byte("scenario: a\ntarget: {url: 'http://x'}\nload: {in_flight: 1, rate: 1/s}\ncapture: {trace: none, ebpf: []}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.yaml", data)
		if err != nil {
			if len(strictyaml.All(err)) == 0 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if s.Target.Package != "" || s.Target.TLS != nil || s.Load.Targets != "" || len(s.Load.Values) > 0 {
			return // files would be looked for
		}
		r, err := s.Resolve(Overrides{})
		if err != nil {
			t.Fatalf("a scenario that holds does not resolve: %v", err)
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadResolved(written); err != nil {
			t.Fatalf("what was resolved cannot be read: %v\n%s", err, written)
		}
	})
}

func FuzzReadResolved(f *testing.F) {
	s, err := Parse("x.yaml", []byte(minimal))
	if err != nil {
		f.Fatal(err)
	}
	r, err := s.Resolve(Overrides{})
	if err != nil {
		f.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadResolved(data)
		if err == nil && len(r.Truth) != len(r.Scenario.Expect.Findings) {
			t.Fatal("a truth is missing")
		}
	})
}

// Declared probes bring their own entry in the list of probes.
func TestResolveCustomProbes(t *testing.T) {
	s, err := Parse("f.yaml", []byte("scenario: a/b\ntarget: {pid: 1, address: \"127.0.0.1:1\"}\nload: {in_flight: 1}\ncapture:\n  custom:\n"+
		"    - {name: gets, function: main.get, time: true, slower_than: 1ms, argument: {name: len(p), keep: \"> 100\"}}\n"))
	require.NoError(t, err)
	r, err := s.Resolve(Overrides{})
	require.NoError(t, err)
	assert.Equal(t, append(DefaultEBPFProbes(), ProbeCustom), r.Scenario.Capture.EBPF)
	data, err := json.Marshal(r)
	require.NoError(t, err)
	again, err := ReadResolved(data)
	require.NoError(t, err)
	assert.Equal(t, []CustomProbe{{Name: "gets", Function: "main.get", Time: true, SlowerThan: Duration(time.Millisecond),
		Argument: &CustomArgument{Name: "len(p)", Keep: Comparison{Op: ">", Value: 100}}}}, again.Scenario.Capture.Custom)
}

// A near miss has no flawed variant to run.
func TestNearMissRunsFixedAlone(t *testing.T) {
	s, err := Parse("f.yaml", []byte("scenario: a/near\ntarget: {command: [./s, '{listen}', '{variant}'], variant: fixed}\n"+
		"load: {in_flight: 1}\nexpect: {near_miss_of: [lock-contention]}\n"))
	require.NoError(t, err)
	assert.Equal(t, []Variant{Fixed}, s.Variants())
	r, err := s.Resolve(Overrides{})
	require.NoError(t, err)
	assert.Equal(t, Fixed, r.Variant)
	assertRoundTrip(t, r)
	_, err = s.Resolve(Overrides{Variant: Flawed})
	assert.EqualError(t, err, "scenario a/near: variant flawed was asked for, and a near miss is fixed alone")
}
