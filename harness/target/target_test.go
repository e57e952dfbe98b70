package target

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/harness/procfs"
)

// helperEnv makes the test binary a server that behaves as its value says.
const helperEnv = "CHOKEPOINT_TEST_TARGET"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		helper(mode)
		return
	}
	os.Exit(m.Run())
}

// helper is a server with the command line of a lab target.
func helper(mode string) {
	flags := flag.NewFlagSet("helper", flag.ExitOnError)
	listen := flags.String("listen", "", "")
	debug := flags.String("debug", "", "")
	variant := flags.String("variant", "", "")
	var set []string
	flags.Func("set", "", func(s string) error { set = append(set, s); return nil })
	_ = flags.Parse(os.Args[1:])
	fmt.Println("variant", *variant, "set", set, "args", flags.Args(), "GOMAXPROCS", os.Getenv("GOMAXPROCS"))

	switch mode {
	case "dies":
		fmt.Fprintln(os.Stderr, "helper: no database")
		os.Exit(3)
	case "hangs":
		fmt.Println("helper: waiting for the database")
		time.Sleep(time.Hour)
	case "hangs on stop":
		signal.Ignore(syscall.SIGTERM)
	case "dies of a signal":
		time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGABRT) })
	case "port taken":
		fmt.Fprintf(os.Stderr, "listen tcp %s: bind: address already in use\n", *listen)
		os.Exit(1)
	case "wrapper", "wrapper that dies", "wrapper of a group", "wrapper of a group that dies":
		child := exec.Command(os.Args[0], os.Args[1:]...)
		child.Env = append(os.Environ(), helperEnv+"=hangs on stop")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: strings.Contains(mode, "group")}
		if err := child.Start(); err != nil {
			panic(err)
		}
		if strings.HasSuffix(mode, "dies") {
			time.AfterFunc(500*time.Millisecond, func() { os.Exit(4) })
		}
		_ = child.Wait()
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if mode == "unwell" {
			http.Error(w, "warming up", http.StatusServiceUnavailable)
		}
		if mode == "redirects" {
			// To where nobody answers, so that one who follows never gets an answer.
			http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusFound)
		}
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "helper: out of luck")
		os.Exit(7)
	})
	for _, at := range []struct {
		address string
		handler http.Handler
	}{{*listen, mux}, {*debug, http.HandlerFunc(pprof.Cmdline)}} {
		if at.address == "" {
			continue
		}
		l, err := net.Listen("tcp", at.address)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		server := &http.Server{Handler: at.handler}
		if mode == "http/2 alone" && at.address == *listen {
			server.Protocols = new(http.Protocols)
			server.Protocols.SetUnencryptedHTTP2(true)
		}
		go func() { _ = server.Serve(l) }()
	}
	time.Sleep(time.Hour)
}

// helperConfig is a target that is this test binary.
func helperConfig(t *testing.T, mode string) Config {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return Config{
		Command:     []string{self, "-listen", "{address}", "-debug", "{debug}"},
		Env:         map[string]string{helperEnv: mode},
		Debug:       "{debug}/debug/pprof",
		StopTimeout: 300 * time.Millisecond,
	}
}

func start(t *testing.T, c Config) (*Process, error) {
	t.Helper()
	executable, err := Build(t.Context(), c)
	require.NoError(t, err)
	p, err := Start(t.Context(), c, executable)
	if err == nil {
		t.Cleanup(func() { _ = p.Stop(context.Background()) })
	}
	return p, err
}

// requireNobodyLeft fails while a process of this test's own helpers runs.
// awaitEmpty already waited, so that there is nothing to wait for here.
func requireNobodyLeft(t *testing.T, marker string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !bytes.Contains(env, []byte(marker)) {
			continue
		}
		if s, err := procfs.Of(pid).Stat(); err == nil && !s.Ended {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestRedirectIsReady(t *testing.T) {
	c := helperConfig(t, "redirects")
	c.Ready = "{address}/"
	p, err := start(t, c)
	require.NoError(t, err, "an answer is enough, and where it points to is not asked")
	require.NoError(t, p.Stop(t.Context()))
}

// marked gives the target an environment variable that all it starts inherits.
func marked(t *testing.T, c *Config) string {
	t.Helper()
	marker := fmt.Sprintf("CHOKEPOINT_TEST_MARK=%s-%d-%d", t.Name(), os.Getpid(), time.Now().UnixNano())
	name, value, _ := strings.Cut(marker, "=")
	c.Env[name] = value
	return marker
}

func TestStartAndStop(t *testing.T) {
	c := helperConfig(t, "serves")
	mark := marked(t, &c)
	var out syncBuffer
	c.Output = &out
	c.GOMAXPROCS = 1
	c.Metrics = "http://{debug}/debug/metrics"
	p, err := start(t, c)
	require.NoError(t, err)

	assert.Equal(t, "http://"+p.Address, p.BaseURL)
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+/debug/pprof$`, p.DebugURL)
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+/debug/metrics$`, p.MetricsURL)
	assert.NotContains(t, p.DebugURL, p.Address)
	resp, err := http.Get(p.BaseURL + "/")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.NoError(t, p.Err(), "it runs")

	require.NoError(t, p.Stop(t.Context()))
	<-p.Done()
	assert.NoError(t, p.Err(), "its end was asked for")
	assert.Contains(t, out.String(), "GOMAXPROCS 1")
	require.NoError(t, p.Stop(t.Context()), "a second time")
	requireNobodyLeft(t, mark)
}

func TestTargetThatGoesWrong(t *testing.T) {
	tests := []struct {
		mode   string
		change func(*Config)
		is     error
		says   []string
	}{
		{mode: "dies", is: ErrDied, says: []string{"exited with code 3", "helper: no database"}},
		{mode: "hangs", is: ErrHangsOnStart, says: []string{"400ms", "refused", "waiting for the database"},
			change: func(c *Config) { c.StartTimeout = 400 * time.Millisecond }},
		{mode: "unwell", is: ErrHangsOnStart, says: []string{"503 Service Unavailable"},
			change: func(c *Config) { c.StartTimeout, c.Ready = 500*time.Millisecond, "{address}/healthy" }},
		{mode: "port taken", is: ErrPortInUse, says: []string{"address already in use"}},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			c := helperConfig(t, tt.mode)
			mark := marked(t, &c)
			if tt.change != nil {
				tt.change(&c)
			}
			_, err := start(t, c)
			require.ErrorIs(t, err, tt.is)
			for _, s := range tt.says {
				assert.ErrorContains(t, err, s)
			}
			requireNobodyLeft(t, mark)
		})
	}
}

func TestPortsAreTriedAgain(t *testing.T) {
	c := helperConfig(t, "port taken")
	var out syncBuffer
	c.Output = &out
	_, err := start(t, c)
	require.ErrorIs(t, err, ErrPortInUse)
	assert.Equal(t, portAttempts, strings.Count(out.String(), "address already in use"))
}

func TestFixedPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := helperConfig(t, "serves")
	c.Command = []string{c.Command[0], "-listen", l.Addr().String()}
	c.Address, c.Debug = l.Addr().String(), ""
	_, err = start(t, c)
	require.ErrorIs(t, err, ErrPortInUse)
	assert.ErrorContains(t, err, l.Addr().String())
}

// A stranger who answers at the address is not the target, however ready.
func TestStrangerAtTheAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	p := &Process{PID: os.Getppid(), Address: l.Addr().String(), unwatch: make(chan struct{})}
	assert.ErrorContains(t, p.findServer(), "another process")
	p.PID = os.Getpid()
	assert.NoError(t, p.findServer())
}

func TestHangsOnStop(t *testing.T) {
	c := helperConfig(t, "hangs on stop")
	mark := marked(t, &c)
	p, err := start(t, c)
	require.NoError(t, err)
	err = p.Stop(t.Context())
	require.ErrorIs(t, err, ErrHangsOnStop)
	assert.ErrorContains(t, err, "300ms")
	<-p.Done()
	assert.NoError(t, p.Err())
	requireNobodyLeft(t, mark)
}

func TestStopWithEndedContextKillsAtOnce(t *testing.T) {
	c := helperConfig(t, "hangs on stop")
	mark := marked(t, &c)
	c.StopTimeout = time.Hour
	p, err := start(t, c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Stop(ctx), context.Canceled)
	requireNobodyLeft(t, mark)
}

func TestDiesMidRun(t *testing.T) {
	t.Run("exit", func(t *testing.T) {
		p, err := start(t, helperConfig(t, "serves"))
		require.NoError(t, err)
		_, err = http.Get(p.BaseURL + "/exit")
		require.Error(t, err)
		<-p.Done()
		require.ErrorIs(t, p.Err(), ErrDied)
		assert.ErrorContains(t, p.Err(), "exited with code 7")
		assert.ErrorContains(t, p.Err(), "helper: out of luck")
		assert.NoError(t, p.Stop(t.Context()))
		assert.ErrorIs(t, p.Err(), ErrDied, "stopping it afterwards changes nothing")
	})
	t.Run("signal", func(t *testing.T) {
		p, err := start(t, helperConfig(t, "dies of a signal"))
		require.NoError(t, err)
		<-p.Done()
		require.ErrorIs(t, p.Err(), ErrDied)
		// The Go runtime turns SIGABRT into a traceback and exit code 2.
		assert.ErrorContains(t, p.Err(), "exited with code 2")
	})
}

func TestWrapper(t *testing.T) {
	// A child that has a process group of its own is the target's as well, and ends with it.
	for _, mode := range []string{"wrapper", "wrapper of a group"} {
		t.Run("the process that serves is the target: "+mode, func(t *testing.T) {
			c := helperConfig(t, mode)
			mark := marked(t, &c)
			p, err := start(t, c)
			require.NoError(t, err)
			assert.NotEqual(t, p.leader, p.PID)
			assert.FileExists(t, p.Executable)
			// The wrapper ends on SIGTERM, its child ignores it and is killed.
			require.NoError(t, p.Stop(t.Context()))
			requireNobodyLeft(t, mark)
		})
		t.Run("one that dies leaves nobody: "+mode, func(t *testing.T) {
			c := helperConfig(t, mode+" that dies")
			mark := marked(t, &c)
			p, err := start(t, c)
			require.NoError(t, err)
			<-p.Done()
			assert.ErrorContains(t, p.Err(), "exited with code 4")
			require.NoError(t, p.Stop(t.Context()))
			requireNobodyLeft(t, mark)
		})
	}
	t.Run("a shell that becomes the server is the server", func(t *testing.T) {
		sh, err := exec.LookPath("sh")
		if err != nil {
			t.Skipf("there is no shell: %v", err)
		}
		c := helperConfig(t, "serves")
		self := c.Command[0]
		c.Command = []string{sh, "-c", "cd / && exec " + self + " -listen {address} -debug {debug}"}
		p, err := start(t, c)
		require.NoError(t, err)
		assert.Equal(t, p.leader, p.PID)
		want, err := filepath.EvalSymlinks(self)
		require.NoError(t, err)
		assert.Equal(t, want, p.Executable)
		require.NoError(t, p.Stop(t.Context()))
	})
}

// A server that speaks HTTP/2 alone, from the first byte on, is asked in it.
func TestHTTP2Alone(t *testing.T) {
	c := helperConfig(t, "http/2 alone")
	c.Ready, c.HTTP2 = "{address}/", true
	p, err := start(t, c)
	require.NoError(t, err)
	require.NoError(t, p.Stop(t.Context()))

	c.HTTP2, c.StartTimeout = false, time.Second
	_, err = start(t, c)
	require.ErrorIs(t, err, ErrHangsOnStart)
}

func TestCancelledStartLeavesNobody(t *testing.T) {
	c := helperConfig(t, "hangs")
	mark := marked(t, &c)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	time.AfterFunc(200*time.Millisecond, func() { cancel(interrupted) })
	_, err := Start(ctx, c, c.Command[0])
	require.ErrorIs(t, err, interrupted)
	requireNobodyLeft(t, mark)
}

// The harness is killed with the target running: the kernel ends the target.
func TestTargetDiesWithTheHarness(t *testing.T) {
	if os.Getenv("CHOKEPOINT_TEST_HARNESS") != "" {
		p, err := start(t, helperConfig(t, "hangs on stop"))
		require.NoError(t, err)
		fmt.Println("target pid", p.PID)
		time.Sleep(time.Hour)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	harness := exec.Command(self, "-test.run", "^TestTargetDiesWithTheHarness$", "-test.v")
	harness.Env = append(os.Environ(), "CHOKEPOINT_TEST_HARNESS=1")
	var out syncBuffer
	harness.Stdout = &out
	require.NoError(t, harness.Start())
	defer func() { _ = harness.Process.Kill(); _ = harness.Wait() }()
	var pid int
	require.Eventually(t, func() bool {
		_, after, found := strings.Cut(out.String(), "target pid ")
		if found {
			_, err = fmt.Sscan(after, &pid)
		}
		return found && err == nil
	}, 20*time.Second, 20*time.Millisecond)
	// It must outlive many a thread of the harness before that.
	_, err = procfs.Of(pid).Stat()
	require.NoError(t, err)
	require.NoError(t, harness.Process.Kill())
	_ = harness.Wait()
	require.Eventually(t, func() bool {
		s, err := procfs.Of(pid).Stat()
		return procfs.Gone(err) || s.Ended
	}, 10*time.Second, 10*time.Millisecond)
}

func TestAttach(t *testing.T) {
	p, err := start(t, helperConfig(t, "serves"))
	require.NoError(t, err)

	t.Run("pid with address", func(t *testing.T) {
		c := Config{PID: p.PID, Address: p.Address, Debug: p.DebugURL}
		executable, err := Build(t.Context(), c)
		require.NoError(t, err)
		a, err := Start(t.Context(), c, executable)
		require.NoError(t, err)
		self, _ := os.Executable()
		assert.Equal(t, self, a.Executable)
		assert.Equal(t, p.BaseURL, a.BaseURL)
		assert.Equal(t, p.DebugURL, a.DebugURL)
		require.NoError(t, a.Stop(t.Context()))
		_, err = procfs.Of(p.PID).Stat()
		require.NoError(t, err, "a target attached to is left alone")
	})
	t.Run("pid with two ports and no address", func(t *testing.T) {
		_, err := Start(t.Context(), Config{PID: p.PID}, "")
		require.ErrorIs(t, err, ErrConfig)
		assert.ErrorContains(t, err, "give the address")
	})
	t.Run("pid that another process's address is given for", func(t *testing.T) {
		_, err := Start(t.Context(), Config{PID: os.Getpid(), Address: p.Address, StartTimeout: 200 * time.Millisecond}, "")
		assert.ErrorContains(t, err, "another process listens")
	})
	t.Run("no such pid", func(t *testing.T) {
		_, err := Build(t.Context(), Config{PID: 1 << 30})
		assert.ErrorContains(t, err, "no process has the pid")
		_, err = Start(t.Context(), Config{PID: 1 << 30}, "")
		assert.ErrorContains(t, err, "no process has the pid")
	})
	t.Run("url", func(t *testing.T) {
		a, err := Start(t.Context(), Config{URL: p.BaseURL + "/", Debug: "{address}/debug/pprof"}, "")
		require.NoError(t, err)
		assert.Equal(t, p.BaseURL, a.BaseURL)
		assert.Equal(t, p.BaseURL+"/debug/pprof", a.DebugURL)
		assert.Zero(t, a.PID)
		require.NoError(t, a.Stop(t.Context()))
	})
	t.Run("url where nobody is", func(t *testing.T) {
		ports, err := freePorts(1)
		require.NoError(t, err)
		_, err = Start(t.Context(), Config{URL: "http://" + loopback(ports[0]), StartTimeout: 100 * time.Millisecond}, "")
		require.ErrorIs(t, err, ErrHangsOnStart)
		assert.ErrorContains(t, err, "check its address")
	})
	t.Run("the attached process ends", func(t *testing.T) {
		a, err := Start(t.Context(), Config{PID: p.PID, Address: p.Address}, "")
		require.NoError(t, err)
		require.NoError(t, p.Stop(t.Context()))
		<-a.Done()
		assert.ErrorIs(t, a.Err(), ErrDied)
	})
}

func TestConfigErrors(t *testing.T) {
	tests := map[string]struct {
		c    Config
		says string
	}{
		"nothing":       {Config{}, "give one of package, command, pid and url"},
		"two":           {Config{PID: 1, URL: "http://x"}, "only one of pid and url"},
		"dash":          {Config{Package: "-o"}, "begins with a dash"},
		"empty command": {Config{Command: []string{""}}, "is empty"},
		"no port":       {Config{Command: []string{"/bin/true"}}, "{port}"},
		"unknown word":  {Config{Command: []string{"/bin/true", "{prot}", "{port}"}}, "{prot} means nothing here; known are {address}, {debug_port}, {debug}, {listen}, {port}, {variant}"},
		"debug word":    {Config{URL: "http://127.0.0.1:1", Debug: "{debug}/x"}, "{debug} means nothing here"},
		"bad debug url": {Config{URL: "http://127.0.0.1:1", Debug: "ftp://x"}, "no http URL"},
		"bad url":       {Config{URL: "127.0.0.1:80"}, "want http://host:port"},
		"bad address":   {Config{Command: []string{"/bin/true"}, Address: "80"}, "want host:port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Start(t.Context(), tt.c, "/bin/true")
			require.ErrorIs(t, err, ErrConfig)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestCommandLine(t *testing.T) {
	w, err := wordsFor("127.0.0.1:80")
	require.NoError(t, err)
	w["{debug}"], w["{variant}"] = "127.0.0.1:81", "flawed"
	args, env, err := commandLine(Config{Package: "./x", Variant: "flawed",
		Knobs: map[string]string{"b": "2", "a": "1"}, Args: []string{"{port}", `{"json": 1}`},
		Env: map[string]string{"LISTEN": "{listen}"}, GOMAXPROCS: 2}, w)
	require.NoError(t, err)
	assert.Equal(t, []string{"-listen", "127.0.0.1:80", "-debug", "127.0.0.1:81", "-variant", "flawed",
		"-set", "a=1", "-set", "b=2", "80", `{"json": 1}`}, args)
	assert.Equal(t, []string{"LISTEN=127.0.0.1:80", "GOMAXPROCS=2"}, env)
}

func TestTail(t *testing.T) {
	tl := &tail{}
	for i := range 100 {
		fmt.Fprintf(tl, "line %d\r\n", i)
	}
	_, _ = tl.Write([]byte(strings.Repeat("x", 10_000)))
	_, _ = tl.Write([]byte("y\nno end \xff"))
	lines := tl.all()
	require.Len(t, lines, tailLines)
	assert.Equal(t, "line 82", lines[0])
	assert.Equal(t, strings.Repeat("x", tailWidth)+" ...", lines[tailLines-2])
	assert.Equal(t, "no end ?", lines[tailLines-1])
}

// syncBuffer is a buffer that may be read while a process writes to it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A command may be another program for each variant.
func TestBuildFindsTheVariantsProgram(t *testing.T) {
	dir := t.TempDir()
	for _, variant := range []string{"flawed", "fixed"} {
		path := filepath.Join(dir, "server-"+variant)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
		got, err := Build(t.Context(), Config{Dir: dir, Command: []string{"./server-{variant}", "{port}"}, Variant: variant})
		require.NoError(t, err)
		assert.Equal(t, path, got)
	}
	_, err := Build(t.Context(), Config{Dir: dir, Command: []string{"./server-{variant}", "{port}"}, Variant: "other"})
	assert.ErrorIs(t, err, ErrConfig)
	assert.ErrorContains(t, err, "server-other")
}
