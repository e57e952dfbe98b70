package kit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asTarget makes the test binary be the target echo(): Run ends the process,
// so it is tested as one.
const asTarget = "KIT_TEST_AS_TARGET"

func TestMain(m *testing.M) {
	Companions(map[string]func(net.Listener) error{"greeter": greet})
	if os.Getenv(asTarget) != "" {
		Run(echo())
	}
	os.Exit(m.Run())
}

// echo answers with the knob text once its dependency has answered.
func echo() Service {
	return Service{
		About: "Answers with a text.",
		Knobs: map[string]string{"text": "hello", "delay": "1ms"},
		Build: func(ctx context.Context, o Options) (http.Handler, error) {
			d := NewDependency(ctx, o.Duration("delay"))
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := d.Call(r.Context()); err != nil {
					http.Error(w, err.Error(), http.StatusServiceUnavailable)
					return
				}
				fmt.Fprintf(w, "%s %s", o.Variant, o.String("text"))
			}), nil
		},
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// startProcess starts the target as a process and returns its addresses.
func startProcess(t *testing.T, args ...string) (cmd *exec.Cmd, addr, debug string) {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-variant", "fixed"}, args...)
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asTarget+"=1")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // an error means that it has ended, as it should
	line, err := bufio.NewReader(stderr).ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(strings.ReplaceAll(line, ",", ""), "listening on %s debug on %s variant fixed", &addr, &debug)
	require.NoError(t, err, line)
	return cmd, addr, debug
}

func TestRunServesUntilSignalled(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, addr, debug := startProcess(t, "-set", "text=good day")

			status, body := get(t, "http://"+addr+"/")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "fixed good day", body)

			status, body = get(t, "http://"+debug+"/debug/pprof/goroutine?debug=1")
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, body, "goroutine profile:")

			require.NoError(t, cmd.Process.Signal(sig))
			assert.NoError(t, cmd.Wait(), "a target that is told to stop exits with code 0")
		})
	}
}

func TestRunAnswersWhatIsInFlightBeforeItStops(t *testing.T) {
	// The request is on its way into the handler when the signal comes: the
	// dependency answers 300 ms later.
	cmd, addr, debug := startProcess(t, "-set", "delay=300ms")
	type answer struct {
		status int
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			answers <- answer{err: err}
			return
		}
		resp.Body.Close()
		answers <- answer{status: resp.StatusCode}
	}()
	for inCall := false; !inCall; {
		_, stacks := get(t, "http://"+debug+"/debug/pprof/goroutine?debug=1")
		inCall = strings.Contains(stacks, "(*Dependency).Call")
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	got := <-answers
	require.NoError(t, got.err)
	assert.Equal(t, http.StatusOK, got.status)
	assert.NoError(t, cmd.Wait())
}

func TestMetricsAreNamesAndNumbers(t *testing.T) {
	_, _, debug := startProcess(t)
	status, body := get(t, "http://"+debug+"/debug/metrics")
	require.Equal(t, http.StatusOK, status)
	var values map[string]float64
	require.NoError(t, json.Unmarshal([]byte(body), &values))
	for _, name := range []string{
		"/gc/finalizers/queued:finalizers", "/gc/cleanups/executed:cleanups", "/sync/mutex/wait/total:seconds",
	} {
		assert.Contains(t, values, name)
	}
	assert.Positive(t, values["/sched/goroutines:goroutines"])
	assert.NotContains(t, values, "/sched/latencies:seconds", "histograms are left out")
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, flag := range []string{"-listen", "-debug"} {
		args := []string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-variant", "fixed", flag, l.Addr().String()}
		var stderr bytes.Buffer
		assert.Equal(t, exitError, run(t.Context(), echo(), args, &stderr))
		assert.Equal(t, fmt.Sprintf("%s %s: the port is in use: stop what holds it, or give another port (0 takes a free one)\n",
			flag, l.Addr()), stderr.String())
	}
}

func TestServiceThatCannotBeBuilt(t *testing.T) {
	s := echo()
	s.Build = func(context.Context, Options) (http.Handler, error) { return nil, errors.New("no journal") }
	var stderr bytes.Buffer
	code := run(t.Context(), s, []string{"-listen", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-variant", "fixed"}, &stderr)
	assert.Equal(t, exitError, code)
	assert.Equal(t, "building the service: no journal\n", stderr.String())
}
