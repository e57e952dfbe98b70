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

// The load ends when most connections are gone for good; a tool that replaces
// connections while it runs changes nothing.
func TestCounterFollowsTheLoad(t *testing.T) {
	var c counter
	at := func(s int) time.Time { return time.Unix(int64(100+s), 0) }
	for range 10 {
		c.change(+1, at(0))
	}
	for range 4 { // replaced
		c.change(-1, at(1))
		c.change(+1, at(1))
	}
	for range 5 {
		c.change(-1, at(2))
	}
	assert.Equal(t, tally{MostOpen: 10, Accepted: 14, Open: 5, LoadNS: int64(3 * time.Second)}, c.tally(at(3)), "half are left")
	c.change(-1, at(4))
	assert.Equal(t, tally{MostOpen: 10, Accepted: 14, Open: 4, LoadNS: int64(4 * time.Second)}, c.tally(at(9)))
	c.change(+1, at(10))
	assert.Equal(t, int64(11*time.Second), c.tally(at(11)).LoadNS, "they came back")
}

func TestRequestsBelieveTheToolWhereTheServerCannotKnow(t *testing.T) {
	for _, test := range []struct {
		name                       string
		answered, reset, own, want int64
	}{
		{"every connection ended well: the server's count holds", 100, 0, 90, 100},
		{"the last answers were not read", 100, 10, 92, 92},
		{"reset with nothing left to read", 100, 10, 100, 100},
		{"the tool counts too little", 100, 10, 50, 90},
		{"the tool counts too much", 100, 10, 500, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, tally{Answered: test.answered, Reset: test.reset}.requests(test.own))
		})
	}
}

func TestServe(t *testing.T) {
	in, tellServer := io.Pipe()
	fromServer, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve("127.0.0.1:0", in, out) }()
	replies := json.NewDecoder(fromServer)
	var hello tally
	require.NoError(t, replies.Decode(&hello))

	ask := func() tally {
		_, err := io.WriteString(tellServer, "\n")
		require.NoError(t, err)
		var seen tally
		require.NoError(t, replies.Decode(&seen))
		return seen
	}

	const connections, each = 3, 4
	var conns [connections]*net.TCPConn
	send := func(i int) {
		_, err := io.WriteString(conns[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
	}
	for i := range conns {
		conn, err := net.Dial("tcp", hello.Addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		conns[i] = conn.(*net.TCPConn)
		reader := bufio.NewReader(conn)
		for range each {
			send(i)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, answer, string(body))
		}
	}
	seen := ask()
	assert.Positive(t, seen.LoadNS)
	seen.LoadNS = 0
	assert.Equal(t, tally{Answered: connections * each, MostOpen: connections, Accepted: connections, Open: connections}, seen)

	// One ends well, one leaves its last answer unread, one does not wait for it.
	require.NoError(t, conns[0].Close())
	send(1)
	_, err := conns[1].Read(make([]byte, 1)) // it has come, and there is more of it
	require.NoError(t, err)
	require.NoError(t, conns[1].Close())
	send(2)
	require.NoError(t, conns[2].Close())
	require.Eventually(t, func() bool { return ask().Open == 0 }, 20*time.Second, time.Millisecond)
	seen = ask()
	assert.Equal(t, int64(2), seen.Reset)
	assert.Equal(t, int64(connections*each+2), seen.Answered)

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
