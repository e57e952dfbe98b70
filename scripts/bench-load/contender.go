package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// job is one run of one contender.
type job struct {
	url         string
	connections int
	length      time.Duration
	// scratch is a folder for the files a tool takes or leaves; it is empty at
	// first and gone after the run.
	scratch string
}

// file names one in the scratch folder.
func (j job) file(name string) string { return filepath.Join(j.scratch, name) }

// invocation is how a contender is run for a job.
type invocation struct {
	args  []string
	env   []string          // beside that of this process
	files map[string]string // to be in the scratch folder before, by name
}

// claim is what a contender says of its own run.
type claim struct {
	requests int64
	errors   int64
	p99      time.Duration
}

// contender is one load generator.
type contender struct {
	name string
	// command is looked up; empty for this program itself.
	command string
	// module@version is what `go install` takes; empty where that is no way to
	// get the command, and hint says what is.
	module, version string
	hint            string

	invoke func(job) invocation
	// parse reads what the contender wrote to stdout, and what it left behind.
	parse func(stdout []byte, j job) (claim, error)
}

// how says how to get the contender's command.
func (c contender) how() string {
	if c.module != "" {
		return fmt.Sprintf("go install %s@%s", c.module, c.version)
	}
	return c.hint
}

// patience is each tool's time limit for a request: long enough that waiting
// for a connection at the start is no error with any of them.
const patience = 30 * time.Second

// contenders in the order of the table. Each runs with its own defaults, but for
// what makes the job the same: connections, length, no limit of the rate, patience.
func contenders() []contender {
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }
	return []contender{
		ownContender("chokepoint, lean", engineLean),
		ownContender("chokepoint, net/http", engineNetHTTP),
		{
			name: "vegeta CLI", command: "vegeta",
			module: "github.com/tsenart/vegeta/v12", version: "v12.13.0",
			invoke: func(j job) invocation {
				n := strconv.Itoa(j.connections)
				return invocation{
					files: map[string]string{"targets": "GET " + j.url + "\n"},
					args: []string{"attack", "-targets=" + j.file("targets"), "-output=" + j.file("results"),
						"-duration=" + j.length.String(), "-rate=0", "-workers=" + n, "-max-workers=" + n,
						"-connections=" + n, "-max-connections=" + n, "-timeout=" + patience.String()},
				}
			},
			parse: parseVegeta,
		},
		{
			name: "fortio", command: "fortio",
			module: "fortio.org/fortio", version: "v1.66.5", // the last without a scripting language
			invoke: func(j job) invocation {
				return invocation{args: []string{"load", "-qps=0", "-c=" + strconv.Itoa(j.connections), "-t=" + seconds(j.length),
					"-p=99", "-timeout=" + patience.String(), "-loglevel=Error", "-allow-initial-errors", "-json=-", j.url}}
			},
			parse: parseFortio,
		},
		{
			name: "wrk", command: "wrk", hint: "apt-get install wrk",
			invoke: func(j job) invocation {
				// wrk knows whole seconds alone.
				return invocation{args: []string{"--latency", "--connections", strconv.Itoa(j.connections),
					"--duration", wholeSeconds(j.length), "--timeout", wholeSeconds(patience), j.url}}
			},
			parse: parseWrk,
		},
		{
			name: "bombardier", command: "bombardier",
			module: "github.com/codesenberg/bombardier", version: "v1.2.6",
			invoke: func(j job) invocation {
				return invocation{args: []string{"--connections=" + strconv.Itoa(j.connections), "--duration=" + seconds(j.length),
					"--timeout=" + patience.String(), "--latencies", "--print=result", "--format=json", j.url}}
			},
			parse: parseBombardier,
		},
		{
			name: "hey", command: "hey",
			module: "github.com/rakyll/hey", version: "v0.1.5",
			invoke: func(j job) invocation {
				return invocation{args: []string{"-z", seconds(j.length), "-c", strconv.Itoa(j.connections),
					"-t", strconv.Itoa(int(patience.Seconds())), j.url}}
			},
			parse: parseHey,
		},
		{
			name: "k6", command: "k6",
			hint: "go install go.k6.io/k6@v1.8.1",
			invoke: func(j job) invocation {
				return invocation{
					files: map[string]string{"script.js": k6Script},
					env:   []string{"TARGET=" + j.url, "K6_NO_USAGE_REPORT=true"},
					args: []string{"run", "--quiet", "--no-color", "--no-usage-report", "--address=",
						"--vus=" + strconv.Itoa(j.connections), "--duration=" + seconds(j.length),
						"--summary-trend-stats=p(99)", "--summary-export=" + j.file("summary.json"), j.file("script.js")},
				}
			},
			parse: parseK6,
		},
	}
}

const k6Script = `import http from 'k6/http';
export const options = { discardResponseBodies: true };
export default function () { http.get(__ENV.TARGET, { timeout: '30s' }); }
`

func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second).Seconds()))) + "s"
}
