package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is answered to tools that have hung up does not count; connections that
// a tool replaces while it runs change nothing.
func TestCounterStopsWhenTheToolHangsUp(t *testing.T) {
	var c counter
	at := time.Unix(100, 0)
	for range 10 {
		c.change(+1, at)
	}
	c.answered.Add(50)
	for range 4 { // replaced
		c.change(-1, at.Add(time.Second))
		c.change(+1, at.Add(time.Second))
	}
	c.answered.Add(50)
	for range 5 {
		c.change(-1, at.Add(2*time.Second))
	}
	assert.Equal(t, int64(100), c.tally(at.Add(3*time.Second)).Requests, "half are left: it still runs")
	c.change(-1, at.Add(4*time.Second))
	c.answered.Add(7)
	for range 4 {
		c.change(-1, at.Add(5*time.Second))
	}
	assert.Equal(t, tally{Requests: 100, Answered: 107, MostOpen: 10, Accepted: 14, ServedNS: int64(4 * time.Second)},
		c.tally(at.Add(9*time.Second)))
}

func TestCounterGoesOnWhenConnectionsComeBack(t *testing.T) {
	var c counter
	at := time.Unix(100, 0)
	for range 4 {
		c.change(+1, at)
	}
	for range 3 {
		c.change(-1, at)
	}
	c.answered.Add(5)
	assert.Zero(t, c.tally(at).Requests)
	c.change(+1, at)
	assert.Equal(t, int64(5), c.tally(at).Requests)
}

func TestServe(t *testing.T) {
	in, tellServer := io.Pipe()
	fromServer, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve("127.0.0.1:0", in, out) }()
	replies := json.NewDecoder(fromServer)
	var hello tally
	require.NoError(t, replies.Decode(&hello))

	const connections, each = 3, 4
	for range connections {
		conn, err := net.Dial("tcp", hello.Addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		reader := bufio.NewReader(conn)
		for range each {
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, answer, string(body))
		}
	}
	_, err := io.WriteString(tellServer, "\n")
	require.NoError(t, err)
	var seen tally
	require.NoError(t, replies.Decode(&seen))
	assert.Equal(t, int64(connections*each), seen.Requests)
	assert.Equal(t, connections, seen.MostOpen)
	assert.Equal(t, connections, seen.Accepted)
	assert.Equal(t, connections, seen.StillUp)
	assert.Positive(t, seen.ServedNS)

	require.NoError(t, tellServer.Close())
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the server goes on after its input has ended")
	}
}

func TestServeTellsWhyItCannotListen(t *testing.T) {
	err := serve("256.0.0.1:0", nil, io.Discard)
	require.ErrorContains(t, err, "listen")
}
