package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"chokepoint/targets/kit"
	"chokepoint/targets/kit/kittest"
)

// Both variants of every mode give the same service.
func TestEveryModeServes(t *testing.T) {
	tests := []struct {
		mode, method, path, want string
	}{
		{"audit", "POST", "/orders", "parcel 7 is on its way\n"},
		{"labels", "POST", "/labels", "to Main Street 7\n"},
		{"couriers", "POST", "/errands", "takes parcel 7\n"},
		{"tracking", "GET", "/tracking", "parcel 7 is in transit\n"},
		{"rates", "GET", "/rates", "parcel 7 costs 7 cents\n"},
	}
	for _, tt := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+tt.mode, "delay=6ms", "hold=1ms", "draw=10us", "workers=3")
				var sent sync.WaitGroup
				for range 20 {
					sent.Go(func() {
						status, body := kittest.Ask(t, tt.method, server.URL+tt.path+"?parcel=10007")
						assert.Equal(t, http.StatusOK, status, body)
						assert.True(t, strings.HasSuffix(body, tt.want), body)
					})
				}
				sent.Wait()

				status, body := kittest.Ask(t, tt.method, server.URL+tt.path+"?parcel=-1")
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Equal(t, "parcel: give a whole number, 0 or more\n", body)
			})
		}
	}
}

// store is the other end of a line, in the hands of the test: what is told is read
// from told, and stays unanswered until answer.
type store struct {
	conn net.Conn
	in   *bufio.Reader
}

func newStore(t *testing.T) (*wire, *store) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return &wire{"store", ours, bufio.NewReader(ours)}, &store{theirs, bufio.NewReader(theirs)}
}

func (s *store) told(t *testing.T) string {
	t.Helper()
	text, err := s.in.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(text, "\n")
}

func (s *store) answer(t *testing.T) {
	t.Helper()
	_, err := s.conn.Write([]byte("ok\n"))
	require.NoError(t, err)
}

// Of three entries that come while the first is written, the flawed writer writes
// one after another, and the other the rest together.
func TestTrailWritesOneByOneOrTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(*trail, context.Context)
		want  []string
	}{
		"write":         {(*trail).write, []string{"0", "1", "2"}},
		"writeGathered": {(*trail).writeGathered, []string{"0;", "1;2;"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, s := newStore(t)
			tr := newTrail(l)
			var entered sync.WaitGroup
			for i := range 3 {
				tr.entries <- entry{fmt.Sprint(i), make(chan error, 1)}
				if i == 0 {
					go tt.write(tr, t.Context())
					assert.Equal(t, tt.want[0], s.told(t))
				}
			}
			entered.Go(func() { assert.NoError(t, tr.enter(t.Context(), "3")) })
			for len(tr.entries) < 3 {
				time.Sleep(time.Millisecond) // until the last has come
			}
			s.answer(t)
			var got []string
			for text := tt.want[0]; !strings.Contains(text, "3"); {
				text = s.told(t)
				got = append(got, text)
				s.answer(t)
			}
			entered.Wait()
			if name == "write" {
				assert.Equal(t, []string{"1", "2", "3"}, got)
			} else {
				assert.Equal(t, []string{"1;2;3;"}, got)
			}
		})
	}
}

func TestTrailTellsWhatTheStoreRefused(t *testing.T) {
	for name, write := range map[string]func(*trail, context.Context){"write": (*trail).write, "writeGathered": (*trail).writeGathered} {
		t.Run(name, func(t *testing.T) {
			l, s := newStore(t)
			s.conn.Close()
			tr := newTrail(l)
			go write(tr, t.Context())
			assert.ErrorContains(t, tr.enter(t.Context(), "x"), "telling the store: ")
		})
	}
}

func TestTrackerTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := newTracker()
		go tr.run(ctx, time.Second)
		start := time.Now()
		a, b := tr.follow(1), tr.follow(1)
		assert.Equal(t, "in transit", <-a)
		assert.Equal(t, "in transit", <-b)
		assert.Less(t, time.Since(start), time.Minute)
		synctest.Wait()
		tr.mu.Lock()
		assert.Empty(t, tr.followers)
		tr.mu.Unlock()
		cancel()
	})
}

func TestExchangeEndsWithItsConnection(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr, err := listenCarrier(ctx, time.Hour)
	require.NoError(t, err)
	x, err := dialExchange(t.Context(), addr)
	require.NoError(t, err)
	short, stop := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer stop()
	_, err = x.rate(short, 1)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	x.mu.Lock()
	assert.Empty(t, x.waiting)
	x.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := x.rate(t.Context(), 2)
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	cancel()
	assert.ErrorIs(t, <-done, errNoAnswer)
}
