package stack

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhoSpeaksAndListens(t *testing.T) {
	const (
		read    = "internal/poll.(*FD).Read < net.(*netFD).Read < net.(*conn).Read < bufio.(*Reader).Read < io.ReadFull"
		write   = "syscall.write < internal/poll.(*FD).Write < net.(*conn).Write < bufio.(*Writer).Flush"
		handler = " < main.get < net/http.HandlerFunc.ServeHTTP < net/http.serverHandler.ServeHTTP < net/http.(*conn).serve"
	)
	p := Program{MainModule: "example.com/shop"}
	for name, c := range map[string]struct {
		stack             string
		listener, speaker string
		relayed           bool
	}{
		"one who reads for many":             {stack: read + " < example.com/mq.(*Conn).loop", listener: "example.com/mq"},
		"one who writes for many":            {stack: write + " < example.com/mq.(*Conn).flusher", speaker: "example.com/mq"},
		"a handler that writes":              {stack: write + " < example.com/mq.(*Conn).Ask" + handler, speaker: "example.com/mq"},
		"a handler that reads":               {stack: read + " < example.com/mq.(*Conn).Ask" + handler},
		"a response":                         {stack: "syscall.write < internal/poll.(*FD).Write < net.(*conn).Write < net/http.checkConnErrorWriter.Write < bufio.(*Writer).Flush" + handler},
		"a server's connection":              {stack: read + " < net/http.(*connReader).backgroundRead"},
		"net/http's client reads":            {stack: read + " < net/http.(*persistConn).Read < bufio.(*Reader).Peek < net/http.(*persistConn).readLoop"},
		"net/http's client writes":           {stack: write + " < net/http.(*persistConn).writeLoop"},
		"a handler at a channel":             {stack: "runtime.chanrecv1 < example.com/mq.(*Conn).Ask" + handler, relayed: true},
		"a handler that chooses":             {stack: "runtime.selectgo < example.com/mq.(*Conn).Ask" + handler, relayed: true},
		"elsewhere":                          {stack: "runtime.selectgo < example.com/mq.(*Conn).Ask < main.poll"},
		"a handler that sleeps":              {stack: "time.Sleep < example.com/mq.(*Conn).Ask" + handler},
		"a handler that asks over HTTP":      {stack: "runtime.selectgo < net/http.(*persistConn).roundTrip < net/http.(*Transport).roundTrip" + handler},
		"a handler that wants a connection":  {stack: "runtime.selectgo < net/http.(*Transport).getConn < net/http.(*Transport).roundTrip" + handler},
		"a handler that passes on a stream":  {stack: "sync.runtime_notifyListWait < sync.(*Cond).Wait < example.com/mq.(*Stream).Read < io.copyBuffer < io.Copy" + handler},
		"a handler that takes next messages": {stack: "runtime.selectgo < google.golang.org/grpc.(*clientStream).RecvMsg < example.com/shop/pb.(*watchClient).Recv" + handler},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []Frame
			for _, f := range strings.Split(c.stack, " < ") {
				frames = append(frames, Frame{Function: f})
			}
			assert.Equal(t, c.listener, Listener(frames))
			assert.Equal(t, c.speaker, Speaker(frames))
			assert.Equal(t, c.relayed, p.MayBeRelayed(frames))
		})
	}
}
