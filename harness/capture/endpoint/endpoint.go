// Package endpoint keeps connections to a target's debug endpoints open from
// before the load until they are needed: a target that has run out of
// descriptors, or whose accept queue is full, answers on those it has already
// accepted and on no other.
package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// dialTimeout bounds one attempt to connect. On loopback a connection is made
// at once or not at all; a remote target gets a few lost packets' time.
const dialTimeout = 5 * time.Second

// keepAlive is how often TCP asks whether the peer is still there, so that no
// firewall between the harness and a remote target forgets an idle connection.
const keepAlive = 15 * time.Second

// bodyExcerpt is how many bytes of an unwelcome answer a reason quotes.
const bodyExcerpt = 200

// NoDebugURL is the reason of a dimension that needs a debug URL and has none.
const NoDebugURL = "the target has no debug URL: import net/http/pprof in the target, serve it on a port of its own, and give its address as the target's debug, such as \"{debug}/debug/pprof\""

// Conn is one HTTP/1.1 connection, kept open between requests for as long as
// the server allows and dialled again only when it is broken. It serves one
// request at a time: a second at the same moment would wait for the first.
type Conn struct {
	client    *http.Client
	transport *http.Transport
}

// Open makes a connection by asking for url, whatever the answer's status:
// what matters is that the server has accepted. An error says that nobody
// answered, and what to look at.
func Open(ctx context.Context, url string) (*Conn, error) {
	t := &http.Transport{
		// No proxy: what is measured is this process, not what stands before it.
		Proxy:               nil,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		MaxConnsPerHost:     1,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     0, // never: the load may take a minute to build up
		DisableCompression:  true,
	}
	c := &Conn{transport: t, client: &http.Client{
		Transport: t,
		// What a redirect points to may be another machine, or not the target's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	resp, err := c.Get(ctx, url)
	if err != nil {
		c.Close()
		return nil, err
	}
	// The body must be read to its end for the connection to be used again.
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		c.Close()
		return nil, fmt.Errorf("GET %s: read the answer: %w", url, err)
	}
	return c, nil
}

// Get asks for url over the connection, and follows no redirect. The caller closes the body; closing it
// before its end closes the connection, by which a Go server notices that its
// client has had enough. Errors name the url and the mend.
func (c *Conn) Get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	resp, err := c.client.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("nobody listens at %s: check the address of the debug endpoint: %w", req.URL.Host, err)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%s did not answer in time: %w", url, err)
	}
	return nil, err // a *url.Error, which names the method and the url
}

// Close closes the connection. It is safe to call twice.
func (c *Conn) Close() { c.transport.CloseIdleConnections() }

// Refusal says in one line why an answer that is not 200 was given, in the
// server's words where it has any. It reads from the body and does not close it.
func Refusal(resp *http.Response) string {
	path := resp.Request.URL.Path
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Sprintf("the target does not serve %s (status 404): register the handlers of net/http/pprof there, or correct the debug URL", path)
	}
	if to, err := resp.Location(); err == nil && resp.StatusCode < http.StatusBadRequest {
		return fmt.Sprintf("%s answered %s, to %s, which is not followed: if that is the target's too, give its address", path, resp.Status, to.Redacted())
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, bodyExcerpt))
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " ")
	if text == "" {
		return fmt.Sprintf("%s answered %s", path, resp.Status)
	}
	return fmt.Sprintf("%s answered %s: %s", path, resp.Status, text)
}
