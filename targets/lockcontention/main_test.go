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
		{"sleep", "GET", "/session", "session of account 7, used "},
		{"io", "POST", "/entries", "entry "},
		{"compute", "GET", "/verify", "token of account 7\n"},
		{"rwmutex", "GET", "/page", "page of account 7, from 6 stages\n"},
	}
	for _, tt := range tests {
		for _, variant := range []kit.Variant{kit.Flawed, kit.Fixed} {
			t.Run(tt.mode+"/"+string(variant), func(t *testing.T) {
				server := kittest.Server(t, service(), variant, "mode="+tt.mode, "delay=6ms", "hold=1ms", "every=5ms")
				const requests = 20
				var sent sync.WaitGroup
				for range requests {
					sent.Go(func() {
						status, body := kittest.Ask(t, tt.method, server.URL+tt.path+"?account=10007")
						assert.Equal(t, http.StatusOK, status, body)
						assert.True(t, strings.HasPrefix(body, tt.want), body)
					})
				}
				sent.Wait()

				status, body := kittest.Ask(t, tt.method, server.URL+tt.path+"?account=-1")
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Equal(t, "account: give a whole number, 0 or more\n", body)
			})
		}
	}
}

func TestSessionStorePausesLockedOrNot(t *testing.T) {
	tests := []struct {
		name string
		get  func(*sessionStore, int) session
		free bool
	}{
		{"get", (*sessionStore).get, false},
		{"use", (*sessionStore).use, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSessionStore(time.Second)
				done := make(chan session)
				go func() { done <- tt.get(store, 7) }()
				synctest.Wait() // until it pauses
				free := store.mu.TryLock()
				if free {
					store.mu.Unlock()
				}
				assert.Equal(t, tt.free, free)
				sess := <-done
				assert.Equal(t, 7, sess.account)
				assert.Equal(t, 1, sess.hits)
			})
		})
	}
}

// fakePeer is the other end of a peer, in the hands of the test: what is asked
// is read from asked, and stays unanswered until answer.
type fakePeer struct {
	conn net.Conn
	in   *bufio.Reader
}

func newFakePeer(t *testing.T) (*peer, *fakePeer) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return &peer{name: "fake", conn: ours, in: bufio.NewReader(ours)}, &fakePeer{conn: theirs, in: bufio.NewReader(theirs)}
}

func (f *fakePeer) asked(t *testing.T) string {
	t.Helper()
	line, err := f.in.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

func (f *fakePeer) answer(t *testing.T) {
	t.Helper()
	_, err := f.conn.Write([]byte("ok\n"))
	require.NoError(t, err)
}

func TestLedgerWaitsForTheJournalLockedOrNot(t *testing.T) {
	tests := []struct {
		name   string
		record func(*ledger, string) (int, error)
		free   bool
	}{
		{"record", (*ledger).record, false},
		{"enqueue", (*ledger).enqueue, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			j, fake := newFakePeer(t)
			l := newLedger(j)
			go l.commit(ctx)
			numbers := make(chan int)
			go func() {
				n, err := tt.record(l, "charge account 7")
				assert.NoError(t, err)
				numbers <- n
			}()
			assert.Equal(t, "1 charge account 7", fake.asked(t))
			free := l.mu.TryLock()
			if free {
				l.mu.Unlock()
			}
			assert.Equal(t, tt.free, free)
			fake.answer(t)
			assert.Equal(t, 1, <-numbers)
		})
	}
}

func TestLedgerTellsWhatTheJournalRefused(t *testing.T) {
	for name, record := range map[string]func(*ledger, string) (int, error){
		"record": (*ledger).record, "enqueue": (*ledger).enqueue,
	} {
		t.Run(name, func(t *testing.T) {
			j, fake := newFakePeer(t)
			fake.conn.Close()
			l := newLedger(j)
			go l.commit(t.Context())
			_, err := record(l, "charge account 7")
			assert.ErrorContains(t, err, "asking the fake: ")
		})
	}
}

func TestLedgerCommitsTogetherAndInOrder(t *testing.T) {
	j, fake := newFakePeer(t)
	l := newLedger(j)
	var want []string
	for n := 1; n <= maxBatch+2; n++ {
		l.add("charge")
		want = append(want, fmt.Sprintf("%d charge", n))
	}
	l.wake <- struct{}{}
	go l.commit(t.Context())
	assert.Equal(t, strings.Join(want[:maxBatch], ";"), fake.asked(t))
	fake.answer(t)
	assert.Equal(t, strings.Join(want[maxBatch:], ";"), fake.asked(t))
	fake.answer(t)
}

func TestRouteTableDownloadsLockedOrNot(t *testing.T) {
	tests := []struct {
		name    string
		refresh func(*routeTable) error
		free    bool
	}{
		{"refresh", (*routeTable).refresh, false},
		{"replace", (*routeTable).replace, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg, fake := newFakePeer(t)
			table := newRouteTable(reg)
			done := make(chan error)
			go func() { done <- tt.refresh(table) }()
			for _, service := range stages {
				assert.Equal(t, "resolve "+service, fake.asked(t))
				free := table.mu.TryRLock()
				if free {
					table.mu.RUnlock()
				}
				assert.Equal(t, tt.free, free)
				fake.answer(t)
			}
			require.NoError(t, <-done)
			endpoint, ok := table.route("price")
			assert.True(t, ok)
			assert.Equal(t, "price.internal:8443", endpoint)
		})
	}
}

func TestTokenCacheRefusesWhatFell(t *testing.T) {
	var key signingKey
	now := time.Now()
	grants := key.issue(5, now.Add(time.Hour))
	grants[1].expires = now.Add(-time.Hour).Unix() // expired,
	grants[1].seal = key.seal(grants[1])           // and properly sealed
	grants[3].account = 4711                       // forged

	tests := []struct {
		name string
		get  func(*tokenCache, uint32) (grant, bool)
	}{
		{"verify", (*tokenCache).verify},
		{"lookup", (*tokenCache).lookup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cache := newTokenCache(key, grants)
			for token, want := range []bool{true, false, true, false, true, false} {
				g, ok := tt.get(cache, uint32(token))
				assert.Equal(t, want, ok, "token %d", token)
				if ok {
					assert.Equal(t, uint32(token), g.token)
				}
			}
		})
	}
}

func TestTokenCacheSweepsOnTheSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var key signingKey
		cache := newTokenCache(key, key.issue(3, time.Now().Add(90*time.Second)))
		go cache.sweepEvery(ctx, time.Minute)
		count := func() int {
			synctest.Wait()
			cache.mu.Lock()
			defer cache.mu.Unlock()
			return len(cache.grants)
		}
		time.Sleep(time.Minute)
		assert.Equal(t, 3, count())
		time.Sleep(time.Minute)
		assert.Equal(t, 0, count())
		cancel()
	})
}
