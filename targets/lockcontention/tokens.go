package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// grant is what a token stands for. It never changes once it is issued.
type grant struct {
	token   uint32
	account uint32
	expires int64 // Unix seconds
	seal    [sha256.Size]byte
}

// signingKey seals grants.
type signingKey [32]byte

// seal is what proves that g was issued under k as it stands.
func (k signingKey) seal(g grant) [sha256.Size]byte {
	var text [len(k) + 16]byte
	copy(text[:], k[:])
	binary.LittleEndian.PutUint32(text[len(k):], g.token)
	binary.LittleEndian.PutUint32(text[len(k)+4:], g.account)
	binary.LittleEndian.PutUint64(text[len(k)+8:], uint64(g.expires))
	return sha256.Sum256(text[:])
}

// issue returns n grants, sealed with k, for tokens 0 to n-1.
func (k signingKey) issue(n int, expires time.Time) []grant {
	grants := make([]grant, n)
	for i := range grants {
		grants[i] = grant{token: uint32(i), account: uint32(i % accounts), expires: expires.Unix()}
		grants[i].seal = k.seal(grants[i])
	}
	return grants
}

// sweep returns the grants that stand: not expired at now, and with their seal
// intact. It computes the seal of every one.
func (k signingKey) sweep(grants []grant, now time.Time) []grant {
	falls := func(g grant) bool { return g.expires <= now.Unix() || k.seal(g) != g.seal }
	if !slices.ContainsFunc(grants, falls) {
		return grants
	}
	return slices.DeleteFunc(slices.Clone(grants), falls)
}

// sweepable returns how many grants a sweep checks in d on this machine, so
// that a sweep takes as long on a faster one. It takes the best of several
// tries: a machine that is busy with other things looks slow.
func (k signingKey) sweepable(d time.Duration) int {
	const tries, sample = 20, 2000
	grants := k.issue(sample, time.Now().Add(time.Hour))
	best := time.Duration(1<<63 - 1)
	for range tries {
		began := time.Now()
		k.sweep(grants, began)
		best = min(best, time.Since(began))
	}
	return max(1, int(float64(sample)*float64(d)/float64(best)))
}

// tokenCache holds the grants, ordered by token.
type tokenCache struct {
	key signingKey

	mu     sync.Mutex
	grants []grant
}

func newTokenCache(key signingKey, grants []grant) *tokenCache {
	return &tokenCache{key: key, grants: grants}
}

// verify returns the grant of token. It sweeps first: what is found after that
// is good.
func (c *tokenCache) verify(token uint32) (grant, bool) {
	c.mu.Lock() // chokepoint:flaw lock-contention
	defer c.mu.Unlock()
	c.grants = c.key.sweep(c.grants, time.Now())
	return find(c.grants, token)
}

// lookup is verify for a cache that sweepEvery keeps swept. It checks by
// itself only the one grant that is asked for.
func (c *tokenCache) lookup(token uint32) (grant, bool) {
	c.mu.Lock()
	grants := c.grants
	c.mu.Unlock()
	g, ok := find(grants, token)
	return g, ok && len(c.key.sweep([]grant{g}, time.Now())) == 1
}

// sweepEvery sweeps the grants every period until ctx ends. The computing is
// done on the side; the lock is held to swap the result in.
func (c *tokenCache) sweepEvery(ctx context.Context, period time.Duration) {
	ticks := time.NewTicker(max(period, time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			c.mu.Lock()
			grants := c.grants
			c.mu.Unlock()

			swept := c.key.sweep(grants, now)

			c.mu.Lock()
			c.grants = swept
			c.mu.Unlock()
		}
	}
}

func find(grants []grant, token uint32) (grant, bool) {
	i, ok := slices.BinarySearchFunc(grants, token, func(g grant, t uint32) int { return cmp.Compare(g.token, t) })
	if !ok {
		return grant{}, false
	}
	return grants[i], true
}

// tokenAPI answers GET /verify?account=N. The token of an account has its
// number.
type tokenAPI struct {
	cache  *tokenCache
	audit  *kit.Dependency
	flawed bool
}

func newTokenAPI(ctx context.Context, o kit.Options) http.Handler {
	key := signingKey(sha256.Sum256([]byte("the key of this lab, no secret")))
	n := max(accounts, key.sweepable(o.Duration("hold"))) // each account has a token
	api := &tokenAPI{
		cache:  newTokenCache(key, key.issue(n, time.Now().Add(24*time.Hour))),
		audit:  kit.NewDependency(ctx, o.Duration("delay")),
		flawed: o.Flawed(),
	}
	if !api.flawed {
		go api.cache.sweepEvery(ctx, o.Duration("every"))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /verify", api.serveVerify)
	return mux
}

func (a *tokenAPI) serveVerify(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	var g grant
	if a.flawed {
		g, ok = a.cache.verify(uint32(n))
	} else {
		g, ok = a.cache.lookup(uint32(n))
	}
	if !ok {
		http.Error(w, "no such token", http.StatusForbidden)
		return
	}
	if err := a.audit.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "token of account %d\n", g.account)
}
