package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/sys/unix"
)

func TestConfigErrors(t *testing.T) {
	good := func() Config {
		return Config{BaseURL: "http://127.0.0.1:8080", InFlight: 10, Requests: []Request{{Path: "/"}}}
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no base", func(c *Config) { c.BaseURL = "" }, "want http://host:port"},
		{"no scheme", func(c *Config) { c.BaseURL = "127.0.0.1:80" }, "base URL"},
		{"other scheme", func(c *Config) { c.BaseURL = "ftp://x" }, "want http://host:port"},
		{"query in base", func(c *Config) { c.BaseURL += "/?a=1" }, "belongs into the path"},
		{"nothing in flight", func(c *Config) { c.InFlight = 0 }, "want 1 to"},
		{"too much in flight", func(c *Config) { c.InFlight = 1 << 30 }, "want 1 to"},
		{"negative rate", func(c *Config) { c.RateHz = -1 }, "rate is -1/s"},
		{"rate not a number", func(c *Config) { c.RateHz = math.NaN() }, "rate is NaN/s"},
		{"negative ramp", func(c *Config) { c.Ramp = -time.Second }, "ramp is -1s"},
		{"negative timeout", func(c *Config) { c.Timeout = -1 }, "timeout is -1ns"},
		{"no requests", func(c *Config) { c.Requests = nil }, "name at least one"},
		{"relative path", func(c *Config) { c.Requests[0].Path = "x" }, `request 1 (GET x): path "x" must begin with /`},
		{"placeholder", func(c *Config) { c.Requests[0].Path = "/{sequence}" }, "unknown placeholder {sequence}; known are {seq} and {token}"},
		{"header placeholder", func(c *Config) { c.Requests[0].Header = map[string]string{"A": "{tok}"} }, "header A: unknown placeholder {tok}"},
		{"header name", func(c *Config) { c.Requests[0].Header = map[string]string{"A b": "c"} }, `header name "A b"`},
		{"header value", func(c *Config) { c.Requests[0].Header = map[string]string{"A": "b\nc"} }, "header A: value"},
		{"method", func(c *Config) { c.Requests[0].Method = "G T" }, "invalid method"},
		{"path", func(c *Config) { c.Requests[0].Path = "/%zz" }, "invalid URL escape"},
		{"weight", func(c *Config) { c.Requests[0].Weight = -1 }, "weight is -1"},
		{"two mistakes", func(c *Config) { c.InFlight, c.Requests = 0, nil }, "name at least one"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			_, err := New(c)
			require.ErrorContains(t, err, "load: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
	g, err := New(good())
	require.NoError(t, err)
	assert.Equal(t, DefaultTimeout, g.cfg.Timeout)
	assert.Positive(t, g.openFiles)
}

func TestOpenFilesLimit(t *testing.T) {
	require.NoError(t, enoughFiles(unix.Rlimit{Cur: 20_000, Max: 20_000}, 10_000))
	err := enoughFiles(unix.Rlimit{Cur: 1024, Max: 4096}, 10_000)
	require.ErrorContains(t, err, "its limit is 1024 (hard limit 4096)")
	require.ErrorContains(t, err, "ulimit -n 10512")
	require.ErrorContains(t, err, "at most 512 in flight")
	_, err = raiseOpenFiles(1 << 40)
	require.ErrorContains(t, err, "ulimit -n")
}

func TestTokensDiffer(t *testing.T) {
	a, b := newTokens(), newTokens()
	seen := map[string]bool{}
	for seq := range uint64(10_000) {
		for _, made := range []tokens{a, b} {
			token := string(made.token(seq))
			require.Len(t, token, tokenLen)
			require.False(t, seen[token], token)
			seen[token] = true
		}
	}
}

func TestTokenScan(t *testing.T) {
	made := newTokens()
	own, other := string(made.token(1)), string(made.token(2))
	tests := []struct {
		name, body   string
		own, foreign bool
	}{
		{"empty", "", false, false},
		{"own", `{"token":"` + own + `"}`, true, false},
		{"other", "x" + other, false, true},
		{"both", own + other, true, true},
		{"both, other first", other + own, true, true},
		{"own twice", own + own, true, false},
		{"cut", own[:tokenLen-1], false, false},
		{"cut, then own", own[:9] + own, true, false},
		{"prefixes before", "tttkn_tkn" + own, true, false},
		{"prefix of other before own", "tkn_" + own, true, false},
		{"upper case", strings.ToUpper(other), false, false},
		{"longer", own + "00", true, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			// However the body is cut into pieces, the same is found.
			for size := 1; size <= len(tc.body)+1; size++ {
				s := tokenScan{want: []byte(own)}
				for rest := []byte(tc.body); len(rest) > 0; {
					n := min(size, len(rest))
					s.scan(rest[:n])
					rest = rest[n:]
				}
				require.Equal(t, tc.own, s.own, "pieces of %d", size)
				require.Equal(t, tc.foreign, s.foreign != "", "pieces of %d", size)
				if tc.foreign {
					require.Contains(t, s.foreign, other, "pieces of %d", size)
				}
			}
		})
	}
}

func FuzzTokenScan(f *testing.F) {
	own := newTokens().token(7)
	f.Add([]byte("tkn_0123456789abcdef01234567"), 3)
	f.Add(append([]byte("tkn_tkn_ff"), own...), 1)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		whole := tokenScan{want: own}
		whole.scan(body)
		require.Equal(t, strings.Contains(string(body), string(own)), whole.own)
		pieces := tokenScan{want: own}
		size = max(1, size)
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			pieces.scan(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, whole.own, pieces.own)
		require.Equal(t, whole.foreign != "", pieces.foreign != "")
	})
}

func TestTargeter(t *testing.T) {
	next := newTargeter(Config{BaseURL: "http://h", Requests: []Request{{
		Method: "PUT", Path: "/{seq}/{token}?again={seq}", Body: `{"t":"{token}","other":{x}}`,
		Header: map[string]string{"x-a": "a", "x-t": "{token}"}, Check: Check{Token: true},
	}}})
	var first, second vegeta.Target
	require.NoError(t, next(&first))
	require.NoError(t, next(&second))
	token := first.Header.Get(TokenHeader)
	assert.Len(t, token, tokenLen)
	assert.Equal(t, "PUT", first.Method)
	assert.Equal(t, "http://h/1/"+token+"?again=1", first.URL)
	assert.Equal(t, `{"t":"`+token+`","other":{x}}`, string(first.Body))
	assert.Equal(t, "a", first.Header.Get("X-A"))
	assert.Equal(t, token, first.Header.Get("X-T"))
	assert.Contains(t, second.URL, "/2/")
	assert.NotEqual(t, token, second.Header.Get(TokenHeader))
}

func TestTurns(t *testing.T) {
	weights := func(ws ...int) []Request {
		var out []Request
		for _, w := range ws {
			out = append(out, Request{Weight: w})
		}
		return out
	}
	assert.Equal(t, []int{0}, turnsOf(weights(0)))
	assert.Equal(t, []int{0, 1}, turnsOf(weights(0, 0)))
	assert.Equal(t, []int{0, 1}, turnsOf(weights(5000, 5000)), "weights are reduced")
	assert.Equal(t, []int{0, 0, 1, 0}, turnsOf(weights(3, 1)), "the rare request stands among the others")
}

func TestDueTimesFollowTheRamp(t *testing.T) {
	p := pacer{rateHz: 1000, ramp: 4 * time.Second}
	// 1000/s over a ramp of 4 s: 2000 requests are due by its end, a quarter of
	// them by half of it, and 1000 a second after it.
	for n, want := range map[uint64]time.Duration{
		0: 0, 500: 2 * time.Second, 2000: 4 * time.Second, 3000: 5 * time.Second, 12_000: 14 * time.Second,
	} {
		assert.InDelta(t, want, p.due(n), float64(time.Microsecond), "request %d", n)
	}
	last := time.Duration(-1)
	for n := range uint64(5000) {
		require.Greater(t, p.due(n), last)
		last = p.due(n)
	}
	none := pacer{rateHz: 100}
	assert.Equal(t, 30*time.Millisecond, none.due(3))
}

func TestKinds(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}, Err: os.NewSyscallError("connect", err)}
	}
	tests := []struct {
		err  error
		want string
	}{
		{op(syscall.ECONNREFUSED), kindRefused},
		{op(syscall.ECONNRESET), kindReset},
		{op(syscall.EPIPE), kindPipe},
		{op(syscall.EMFILE), kindFiles},
		{op(syscall.EADDRNOTAVAIL), kindPorts},
		{op(syscall.ETIMEDOUT), kindTimeout},
		{fmt.Errorf("get: %w", context.DeadlineExceeded), kindTimeout},
		{&net.DNSError{Name: "nowhere"}, kindHost},
		{io.EOF, kindNoAnswer},
		{io.ErrUnexpectedEOF, kindCut},
		{errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "x"`), kindMalformed},
		{errors.New("http: server closed idle connection"), kindNoAnswer},
		{errors.New("read tcp 127.0.0.1:40312->127.0.0.1:8080: odd"), "read tcp ADDRESS->ADDRESS: odd"},
		{errors.New("read tcp [::1]:40312->[::1]:8080: odd"), "read tcp ADDRESS->ADDRESS: odd"},
		{errors.New(`odd "value 1" at localhost:40312 after 17 bytes` + "\nmore"), `odd "..." at localhost:PORT after N bytes`},
		{errors.New(strings.Repeat("é", 200)), strings.Repeat("é", 60) + "..."},
		{errors.New(""), kindOther},
	}
	for _, tc := range tests {
		assert.Equal(t, tc.want, kindOf(tc.err), "%v", tc.err)
	}
}

func TestKindsAreBounded(t *testing.T) {
	r := newRecorder(nil)
	r.beginWindow(r.monoNow())
	for i := range 3 * maxKinds {
		r.send()
		r.end(exchange{failure: fmt.Sprintf("kind %c%c", 'a'+i/26, 'a'+i%26)})
	}
	r.endWindow(r.monoNow())
	kinds := r.summary().Requests.ByError
	assert.Len(t, kinds, maxKinds+1)
	assert.Equal(t, int64(2*maxKinds), kinds[kindOther])
}

// TestRecorderIsExact runs a known attack on a clock of its own.
func TestRecorderIsExact(t *testing.T) {
	const ms = int64(time.Millisecond)
	r := newRecorder(nil)
	var clock int64
	r.elapsed = func() int64 { return clock }
	var results []exchange
	r.results = func(x exchange) bool { results = append(results, x); return len(results) < 3 }
	at := func(t int64) { clock = t * ms }

	at(1000)
	r.begin()
	at(1500)
	r.socket(+1)
	r.socket(+1)
	a := exchange{sent: r.send(), code: 200}
	b := exchange{sent: r.send(), code: 500, bytesIn: 100}
	at(2500)
	r.beginWindow(r.monoNow())
	at(3000)
	r.end(b) // 1.5 s, a failure
	at(3500)
	c := exchange{sent: r.send(), code: 200, bytesIn: 300}
	d := exchange{sent: r.send(), failure: kindReset}
	at(4000)
	r.end(c) // 0.5 s
	r.end(d) // 0.5 s, no response: no bytes, no code
	r.socket(-1)
	at(4500)
	r.endWindow(r.monoNow())
	at(5000)
	r.end(a)   // after the window
	at(100000) // after the end no second is added
	r.finished = true
	sum := r.summary()

	assert.Equal(t, 1, sum.Reached.InFlightMin)
	assert.Equal(t, 3, sum.Reached.InFlightMax)
	// 2 for 0.5 s, 1 for 0.5 s, 3 for 0.5 s, 1 for 0.5 s.
	assert.InDelta(t, 1.75, sum.Reached.InFlightMean, 1e-9)
	assert.Equal(t, 1, sum.Reached.OpenSocketsMin)
	assert.Equal(t, 2, sum.Reached.OpenSocketsMax)
	assert.Equal(t, 2, sum.Reached.InFlightAtCapture)
	assert.InDelta(t, 1.5, sum.Reached.RateHz, 1e-9)
	assert.Equal(t, int64(3), sum.Requests.Ended)
	assert.Equal(t, int64(1), sum.Requests.OK)
	assert.Equal(t, map[string]int64{"200": 1, "500": 1}, sum.Requests.ByCode)
	assert.Equal(t, map[string]int64{kindReset: 1}, sum.Requests.ByError)
	assert.Equal(t, int64(3), sum.LatencySeconds.Count)
	assert.InDelta(t, 2.5/3, sum.LatencySeconds.Mean, 1e-6)
	assert.InDelta(t, 0.5, sum.LatencySeconds.P50, 0.001)
	assert.InDelta(t, 1.5, sum.LatencySeconds.Max, 1e-9)
	assert.Equal(t, int64(2), sum.ResponseBytes.Count)
	assert.InDelta(t, 200, sum.ResponseBytes.Mean, 1e-9)
	assert.Equal(t, int64(1), sum.Generator.ResultsDropped, "the third was refused")
	require.Len(t, results, 3)

	require.Len(t, sum.Seconds, 4)
	assert.Equal(t, r.baseMono+1000*ms, sum.Seconds[0].StartNS)
	assert.Equal(t, []int{1, 2, 2, 1}, []int{sum.Seconds[0].InFlight, sum.Seconds[1].InFlight, sum.Seconds[2].InFlight, sum.Seconds[3].InFlight})
	assert.Equal(t, []int64{0, 0, 1, 2}, []int64{sum.Seconds[0].Ended, sum.Seconds[1].Ended, sum.Seconds[2].Ended, sum.Seconds[3].Ended})
	assert.Equal(t, int64(1), sum.Seconds[2].Errors)
	assert.InDelta(t, 0.5, sum.Seconds[3].LatencyP50, 0.001)
}

func TestSendLagIsCorrectedFor(t *testing.T) {
	const ms = int64(time.Millisecond)
	p := pacer{rateHz: 100}
	r := newRecorder(p.due)
	var clock int64
	r.elapsed = func() int64 { return clock }
	clock = 1000 * ms
	r.begin()
	r.beginWindow(r.monoNow())
	clock = 1300 * ms // request 10 was due at 100 ms and leaves at 300 ms
	x := exchange{seq: 10, sent: r.send(), code: 200}
	clock = 1350 * ms
	r.end(x)
	r.endWindow(r.monoNow())
	sum := r.summary()
	assert.InDelta(t, 0.05, sum.LatencySeconds.P99, 0.001)
	assert.InDelta(t, 0.2, sum.Generator.SendLagP99, 0.001)
	assert.InDelta(t, 0.25, sum.CorrectedSeconds.P99, 0.001)
}

func TestPauseGrowsWithRoundsOfFailure(t *testing.T) {
	g := &Generator{cfg: Config{InFlight: 100}}
	assert.Zero(t, g.pause(0))
	assert.Zero(t, g.pause(99))
	assert.Equal(t, pauseStep, g.pause(100))
	assert.Equal(t, 3*pauseStep, g.pause(399))
	assert.Equal(t, pauseMost, g.pause(math.MaxInt64))
}

func TestResultsThatCannotBeWritten(t *testing.T) {
	f, err := newResultFile(time.Now())
	require.NoError(t, err)
	require.NoError(t, f.file.Close()) // as good as a full disk
	for range 50_000 {
		for !f.add(exchange{url: "http://h/long enough to fill the buffer"}) {
			time.Sleep(time.Millisecond)
		}
	}
	f.finish()
	<-f.done
	require.ErrorContains(t, f.err, "write results to "+os.TempDir())
	assert.Positive(t, f.lost)
}

func TestFullQueueDrops(t *testing.T) {
	f := &resultFile{queue: make(chan exchange, 1)}
	assert.True(t, f.add(exchange{}))
	assert.False(t, f.add(exchange{}), "nobody reads, and the attack must not wait")
}
