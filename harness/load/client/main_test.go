package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain finds that no goroutine of any client is left in the end.
func TestMain(m *testing.M) {
	code := m.Run()
	end := time.Now().Add(20 * time.Second)
	for len(leftovers()) > 0 && time.Now().Before(end) {
		time.Sleep(5 * time.Millisecond)
	}
	if left := leftovers(); len(left) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left; one of them:\n%s\n", len(left), left[0])
		code = 1
	}
	os.Exit(code)
}

// kind is a way to talk to a server.
type kind struct {
	name   string
	tls    bool
	plan   Plan
	engine string
	why    string
	proto  string
}

func kinds() []kind {
	return []kind{
		{name: "lean", engine: "lean", proto: "HTTP/1.1"},
		{name: "net/http", plan: Plan{Engine: "net/http"}, engine: "net/http", why: "the scenario asks for net/http", proto: "HTTP/1.1"},
		{name: "TLS", tls: true, engine: "net/http", why: "the target speaks TLS", proto: "HTTP/1.1"},
		{name: "HTTP2", tls: true, plan: Plan{HTTP2: true}, engine: "net/http", why: "HTTP/2 is asked for", proto: "HTTP/2.0"},
		{name: "h2c", plan: Plan{HTTP2: true}, engine: "net/http", why: "HTTP/2 is asked for", proto: "HTTP/2.0"},
	}
}

// protocols are the kinds that differ for a badly behaved client, which has no
// engine.
func protocols() []kind { return kinds()[1:] }

// start is a server for k and a plan for it.
func (k kind) start(t *testing.T, handler http.HandlerFunc, change ...func(*httptest.Server)) Plan {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused certificates are a part of the tests
	p := k.plan
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(k.plan.HTTP2)
	s.Config.Protocols.SetUnencryptedHTTP2(k.plan.HTTP2)
	s.EnableHTTP2 = k.plan.HTTP2
	for _, f := range change {
		f(s)
	}
	if k.tls {
		cert := certificate(t)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		p.TLS = &TLS{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	p.BaseURL, p.Timeout = s.URL, 20*time.Second
	return p
}

// certificate is one of the test's own, with a key that is cheaper to sign with
// than that of httptest.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// counted is a client whose open sockets are counted, and must all be closed.
func counted(t *testing.T, p Plan) (*Client, *atomic.Int64) {
	t.Helper()
	open := new(atomic.Int64)
	c, err := New(p, func(change int) { open.Add(int64(change)) })
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		assert.Zero(t, open.Load(), "open sockets")
	})
	return c, open
}

// leftovers are the goroutines of clients.
func leftovers() []string {
	buf := make([]byte, 64<<20)
	var out []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, mark := range []string{"load/client.(*", "load/http1.(*", "persistConn", "http2ClientConn"} {
			if strings.Contains(stack, mark) && !strings.Contains(stack, "client.leftovers") {
				out = append(out, stack)
				break
			}
		}
	}
	return out
}

// within waits for something that must come, with room for a slow machine.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 5*time.Millisecond, what)
}

// send sends one request and reads its whole response.
func send(rt http.RoundTripper, method, url string, body io.Reader) (*http.Response, string, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), errors.Join(err, resp.Body.Close())
}

// gather lets handlers wait until n are there.
type gather struct {
	mu   sync.Mutex
	left int
	all  chan struct{}
}

func newGather(n int) *gather { return &gather{left: n, all: make(chan struct{})} }

func (g *gather) wait(r *http.Request) bool {
	g.mu.Lock()
	g.left--
	if g.left == 0 {
		close(g.all)
	}
	g.mu.Unlock()
	select {
	case <-g.all:
		return true
	case <-r.Context().Done():
		return false
	}
}

// raw is a server that hands each connection to serve.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return "http://" + ln.Addr().String()
}
