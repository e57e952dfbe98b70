package heatmap_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"chokepoint/harness/bundle"
	"chokepoint/harness/heatmap"
	"chokepoint/harness/internal/testtrace"
)

// stalled is a time in which a server was held up, and by what.
type stalled struct {
	kind       string
	begin, end int64
}

func monotonic(t *testing.T) int64 {
	var ts unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// shop is a server whose requests take 20 ms, but when it is held up.
type shop struct {
	prices  sync.Mutex
	sold    int
	tidying atomic.Pointer[chan struct{}] // requests wait until it is closed
}

func (s *shop) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.prices.Lock()
	s.sold++
	s.prices.Unlock()
	if done := s.tidying.Load(); done != nil {
		<-*done
	}
	time.Sleep(20 * time.Millisecond)
	_, _ = io.WriteString(w, "ok")
}

// reprice holds the lock that all requests take.
func (s *shop) reprice(t *testing.T, d time.Duration) stalled {
	begin := monotonic(t)
	s.prices.Lock()
	time.Sleep(d)
	s.prices.Unlock()
	return stalled{"lock-convoy", begin, monotonic(t)}
}

// tidy collects garbage, and has requests wait for it.
func (s *shop) tidy(t *testing.T, d time.Duration) stalled {
	begin := monotonic(t)
	done := make(chan struct{})
	s.tidying.Store(&done)
	for monotonic(t) < begin+int64(d) {
		runtime.GC()
	}
	s.tidying.Store(nil)
	close(done)
	return stalled{"collection", begin, monotonic(t)}
}

// dump stops the world for as long as nobody reads what it writes.
func (s *shop) dump(t *testing.T, d time.Duration) stalled {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	reader := exec.Command("sh", "-c", fmt.Sprintf("sleep %.3f; exec cat >/dev/null", d.Seconds()))
	reader.Stdin = r
	require.NoError(t, reader.Start())
	begin := monotonic(t)
	debug.WriteHeapDump(w.Fd())
	end := monotonic(t)
	require.NoError(t, w.Close())
	require.NoError(t, r.Close())
	require.NoError(t, reader.Wait())
	return stalled{"stop-the-world", begin, end}
}

// hold is a tree that takes the collector some time to go through.
type hold struct{ left, right *hold }

func grow(depth int) *hold {
	if depth == 0 {
		return nil
	}
	return &hold{grow(depth - 1), grow(depth - 1)}
}

// A server that is held up at known times, by known things, has a map that says
// what it was and when. Other work on the machine may hold it up as well, and is no
// fault of the map: it has a second try.
func TestTheMapSaysWhatHappenedAndWhen(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a server, and ten seconds")
	}
	wrong := holdUp(t)
	if len(wrong) > 0 {
		t.Logf("once more, since: %s", strings.Join(wrong, "; "))
		wrong = holdUp(t)
	}
	assert.Empty(t, wrong)
}

// holdUp runs a server that is held up, and tells what its map has wrong.
func holdUp(t *testing.T) (wrong []string) {
	live := grow(18)
	s := &shop{}
	srv := httptest.NewServer(s)
	defer srv.Close()
	const clients = 16
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer c.CloseIdleConnections()

	var stalls []stalled
	out := testtrace.Record(t, func() {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					res, err := c.Get(srv.URL)
					if assert.NoError(t, err) {
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				}
			})
		}
		for _, f := range []func(*testing.T, time.Duration) stalled{s.reprice, s.dump, s.tidy} {
			time.Sleep(2 * time.Second)
			stalls = append(stalls, f(t, 250*time.Millisecond))
		}
		time.Sleep(2 * time.Second)
		close(stop)
		wg.Wait()
	})
	runtime.KeepAlive(live)

	dir := filepath.Join(t.TempDir(), "b")
	w, err := bundle.Create(dir, bundle.Manifest{Target: bundle.Target{MainModule: "chokepoint"}})
	require.NoError(t, err)
	require.NoError(t, w.WriteFile(bundle.TraceOut, out))
	require.NoError(t, w.Finish())
	b, err := bundle.Open(dir)
	require.NoError(t, err)
	defer b.Close()
	in, err := heatmap.Read(b.Evidence(), heatmap.FromTrace, nil)
	require.NoError(t, err)
	m := heatmap.New(in)

	var said strings.Builder
	for _, x := range m.Spells {
		fmt.Fprintf(&said, "%s from %.2f to %.2f s (%.2f to %.2f)", x.Kind, seconds(m, x.StartNS), seconds(m, x.EndNS), seconds(m, x.SinceNS), seconds(m, x.UntilNS))
		for _, c := range x.Causes {
			fmt.Fprintf(&said, ", %s (%.1f%%) from %.2f to %.2f s", c.Kind, 100*c.Chance, seconds(m, c.FromNS), seconds(m, c.ToNS))
		}
		for _, c := range x.Tried {
			fmt.Fprintf(&said, ", not %s (%.1f%%)", c.Kind, 100*c.Chance)
		}
		said.WriteByte('\n')
	}
	for _, x := range stalls {
		fmt.Fprintf(&said, "stalled by %s from %.2f to %.2f s\n", x.kind, seconds(m, x.begin), seconds(m, x.end))
	}
	t.Log(said.String())
	for _, x := range stalls {
		found := slices.ContainsFunc(m.Spells, func(sp heatmap.Spell) bool {
			if sp.SinceNS >= x.end || sp.UntilNS <= x.begin || sp.Kind == heatmap.Faster {
				return false
			}
			return slices.ContainsFunc(sp.Causes, func(c heatmap.Cause) bool {
				// To the column, and it covers most of it.
				both := min(c.ToNS, x.end) - max(c.FromNS, x.begin)
				return c.Kind == x.kind && c.FromNS >= x.begin-2*m.ColumnNS && c.ToNS <= x.end+2*m.ColumnNS && 2*both >= x.end-x.begin
			})
		})
		if !found {
			wrong = append(wrong, fmt.Sprintf("%s from %.2f to %.2f s is not named", x.kind, seconds(m, x.begin), seconds(m, x.end)))
		}
	}
	// What it is named for, it is named for where it was.
	for _, sp := range m.Spells {
		for _, c := range sp.Causes {
			if !slices.ContainsFunc(stalls, func(x stalled) bool { return x.kind == c.Kind }) {
				continue // waiting for a P, which these have with them
			}
			if !slices.ContainsFunc(stalls, func(x stalled) bool {
				return x.kind == c.Kind && x.begin < c.ToNS && c.FromNS < x.end || c.Kind == "stop-the-world" && x.kind == "collection"
			}) {
				wrong = append(wrong, fmt.Sprintf("%s is named from %.2f to %.2f s, where it was not", c.Kind, seconds(m, c.FromNS), seconds(m, c.ToNS)))
			}
		}
	}
	return wrong
}

func seconds(m heatmap.Map, ns int64) float64 { return float64(ns-m.StartNS) / 1e9 }
