package load

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/load/request"
	"chokepoint/harness/load/worker"
)

// serverEnv makes the test binary a server instead: its value is how long each
// request waits.
const serverEnv = "CHOKEPOINT_LOAD_SERVER"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WorkerCommand {
		if worker.Serve(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		return
	}
	if delay := os.Getenv(serverEnv); delay != "" {
		serve(delay)
		return
	}
	os.Exit(m.Run())
}

// serve is a server in a process of its own; it prints its address.
func serve(delay string) {
	wait, err := time.ParseDuration(delay)
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.WriteString(ln.Addr().String() + "\n"); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte("hello " + r.Header.Get(request.TokenHeader)))
	})}
	go func() { <-ctx.Done(); _ = server.Close() }()
	_ = server.Serve(ln)
}

// startServer runs serve in a child that dies with the test.
func startServer(t *testing.T, delay time.Duration) (base string, server *exec.Cmd) {
	t.Helper()
	server = exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverEnv+"="+delay.String())
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	line := make([]byte, 64)
	n, err := out.Read(line)
	require.NoError(t, err)
	return "http://" + strings.TrimSpace(string(line[:n])), server
}

// sockets counts the sockets of this process.
func sockets(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// within waits for something that must come, with room for a slow machine.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 10*time.Millisecond, what)
}
