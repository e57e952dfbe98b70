package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"chokepoint/targets/kit"
)

// session is what the store knows of an account that is signed in.
type session struct {
	account int
	began   time.Time
	used    time.Time
	hits    int
}

// sessionStore holds the sessions. A session that was used is read back after
// a pause, which gives the replica time to object.
type sessionStore struct {
	pause time.Duration

	mu       sync.Mutex
	sessions map[int]*session
}

func newSessionStore(pause time.Duration) *sessionStore {
	return &sessionStore{pause: pause, sessions: make(map[int]*session, accounts)}
}

// get marks the session of account as used and returns it as it then stands.
// The store is locked throughout, so that nothing changes between the two.
func (s *sessionStore) get(account int) session {
	s.mu.Lock() // chokepoint:flaw lock-contention
	defer s.mu.Unlock()
	s.touch(account, time.Now())
	time.Sleep(s.pause)
	return *s.sessions[account]
}

// use is get with the store locked for the two accesses alone. What changes in
// the pause is newer, and as welcome.
func (s *sessionStore) use(account int) session {
	s.mu.Lock()
	s.touch(account, time.Now())
	s.mu.Unlock()

	time.Sleep(s.pause)

	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.sessions[account]
}

// touch is called with the store locked.
func (s *sessionStore) touch(account int, now time.Time) {
	sess, ok := s.sessions[account]
	if !ok {
		sess = &session{account: account, began: now}
		s.sessions[account] = sess
	}
	sess.used = now
	sess.hits++
}

// sessionAPI answers GET /session?account=N.
type sessionAPI struct {
	store    *sessionStore
	profiles *kit.Dependency
	flawed   bool
}

func newSessionAPI(ctx context.Context, o kit.Options) http.Handler {
	api := &sessionAPI{
		store:    newSessionStore(o.Duration("hold")),
		profiles: kit.NewDependency(ctx, o.Duration("delay")),
		flawed:   o.Flawed(),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /session", api.serveSession)
	return mux
}

func (a *sessionAPI) serveSession(w http.ResponseWriter, r *http.Request) {
	n, ok := account(w, r)
	if !ok {
		return
	}
	var sess session
	if a.flawed {
		sess = a.store.get(n)
	} else {
		sess = a.store.use(n)
	}
	if err := a.profiles.Call(r.Context()); err != nil {
		unavailable(w, err)
		return
	}
	fmt.Fprintf(w, "session of account %d, used %d times\n", sess.account, sess.hits)
}
