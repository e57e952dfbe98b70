package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/signal/stack"
)

const (
	park    = "runtime.gopark < runtime.netpollblock < internal/poll.runtime_pollWait < internal/poll.(*pollDesc).wait < internal/poll.(*pollDesc).waitRead < "
	serving = " < main.(*api).get < net/http.HandlerFunc.ServeHTTP < net/http.(*ServeMux).ServeHTTP < net/http.serverHandler.ServeHTTP < net/http.(*conn).serve"
	read    = park + "internal/poll.(*FD).Read < net.(*netFD).Read < net.(*conn).Read"
	write   = park + "internal/poll.(*FD).Write < net.(*netFD).Write < net.(*conn).Write"
	choose  = "runtime.gopark < runtime.selectgo < "
	client  = "net/http.(*Transport).roundTrip < net/http.(*Transport).RoundTrip < net/http.send < net/http.(*Client).send < net/http.(*Client).do < net/http.(*Client).Do"
)

func TestPeerOf(t *testing.T) {
	for name, c := range map[string]struct {
		stack string
		want  stack.Peer
	}{
		"a client":                               {choose + "net/http.(*persistConn).roundTrip < " + client + serving, stack.AskedPeer},
		"a client of HTTP/2":                     {choose + "net/http.(*http2ClientConn).roundTrip < net/http.(*http2ClientConn).RoundTrip < " + client + serving, stack.AskedPeer},
		"a client in a library":                  {choose + "net/http.(*persistConn).roundTrip < " + client + " < github.com/x/sdk.(*C).Get" + serving, stack.AskedPeer},
		"a client outside of requests":           {choose + "net/http.(*persistConn).roundTrip < " + client + " < main.poll < main.main", stack.AskedPeer},
		"a client that waits for its turn":       {choose + "net/http.(*Transport).getConn < " + client + serving, stack.NoPeer},
		"a remote procedure":                     {"runtime.gopark < runtime.chanrecv < runtime.chanrecv1 < net/rpc.(*Client).Call" + serving, stack.AskedPeer},
		"a call of gRPC":                         {choose + "google.golang.org/grpc/internal/transport.(*recvBufferReader).readClient < google.golang.org/grpc.invoke < google.golang.org/grpc.(*ClientConn).Invoke" + serving, stack.AskedPeer},
		"one with an interceptor of the program": {choose + "google.golang.org/grpc/internal/transport.(*Stream).waitOnHeader < google.golang.org/grpc.invoke < shop.timed.func2 < google.golang.org/grpc.(*ClientConn).Invoke < shop.call" + serving, stack.AskedPeer},
		"a response's body":                      {read + " < net/http.(*persistConn).Read < bufio.(*Reader).Read < net/http.(*body).Read < net/http.(*bodyEOFSignal).Read < io.ReadAll" + serving, stack.AskedPeer},
		"a response that is passed on":           {read + " < net/http.(*persistConn).Read < net/http.(*body).Read < net/http.(*bodyEOFSignal).Read < io.copyBuffer < io.Copy" + serving, stack.NoPeer},
		"a response passed on by a proxy":        {read + " < net/http.(*persistConn).Read < net/http.(*bodyEOFSignal).Read < net/http/httputil.(*ReverseProxy).copyBuffer < net/http/httputil.(*ReverseProxy).ServeHTTP" + serving, stack.NoPeer},
		"a stream of events":                     {read + " < net/http.(*persistConn).Read < net/http.(*bodyEOFSignal).Read < bufio.(*Scanner).Scan" + serving, stack.NoPeer},
		"a connection by lines":                  {read + " < bufio.(*Reader).fill < bufio.(*Reader).ReadSlice < bufio.(*Reader).ReadString" + serving, stack.ReadPeer},
		"a driver":                               {read + " < bufio.(*Reader).Read < io.ReadAtLeast < github.com/x/pq.(*conn).recv < database/sql.(*DB).query" + serving, stack.ReadPeer},
		"a connection outside of requests":       {read + " < main.(*hub).listen < main.main", stack.OwnPeer},
		"a connection of a helper":               {read + " < bufio.(*Reader).fill < fmt.Fscanf < main.(*depot).count < main.(*api).get.func1 < golang.org/x/sync/errgroup.(*Group).Go.func1", stack.OwnPeer},
		"a connection that is passed on":         {read + " < io.copyBuffer < io.Copy < main.(*tunnel).pump", stack.NoPeer},
		"a pipe outside of requests":             {park + "internal/poll.(*FD).Read < os.(*File).Read < bufio.(*Scanner).Scan < main.(*logs).follow", stack.NoPeer},
		"a client library's connection":          {read + " < bufio.(*Reader).Read < google.golang.org/grpc/internal/transport.(*http2Client).reader", stack.NoPeer},
		"a library's connections":                {read + " < bufio.(*Reader).Read < github.com/valyala/fasthttp.(*Server).serveConn < github.com/valyala/fasthttp.(*workerPool).workerFunc", stack.NoPeer},
		"a client between requests":              {read + " < net/http.(*connReader).Read < bufio.(*Reader).Peek < net/http.(*conn).serve", stack.NoPeer},
		"a request's body":                       {read + " < net/http.(*connReader).Read < bufio.(*Reader).Read < net/http.(*body).Read < io.ReadAll" + serving, stack.NoPeer},
		"a connection being made":                {park + "internal/poll.(*FD).WaitWrite < net.(*netFD).connect < net.(*netFD).dial" + serving, stack.AskedPeer},
		"a response that is not read":            {write + " < net/http.checkConnErrorWriter.Write < bufio.(*Writer).Write < net/http.(*response).Write" + serving, stack.FullPeer},
		"a subscriber that does not read":        {write + " < main.(*client).pump < main.main", stack.FullPeer},
		"a window of HTTP/2 that is used up":     {choose + "net/http.(*http2serverConn).writeDataFromHandler < net/http.(*http2responseWriter).Write < main.(*api).get < net/http.(*http2serverConn).runHandler", stack.FullPeer},
		"a long poll":                            {choose + "main.(*api).changes" + serving, stack.NoPeer},
		"a lock":                                 {"sync.(*Mutex).Lock" + serving, stack.NoPeer},
		"a sleep":                                {"time.Sleep" + serving, stack.NoPeer},
		"nothing known":                          {"", stack.NoPeer},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, app.PeerOf(of(c.stack)), "wants %v", app.PeerOf(of(c.stack)))
		})
	}
}

func TestBodyOpen(t *testing.T) {
	for name, c := range map[string]struct {
		stack string
		want  bool
	}{
		"waits for its caller":             {choose + "net/http.(*persistConn).readLoop", true},
		"idle, or an answer is on its way": {read + " < net/http.(*persistConn).Read < bufio.(*Reader).fill < bufio.(*Reader).Peek < net/http.(*persistConn).readLoop", false},
		"reads a head":                     {read + " < net/http.(*persistConn).Read < net/textproto.(*Reader).ReadLine < net/http.ReadResponse < net/http.(*persistConn).readResponse < net/http.(*persistConn).readLoop", false},
		"its other half":                   {choose + "net/http.(*persistConn).writeLoop", false},
		"who asks":                         {choose + "net/http.(*persistConn).roundTrip < " + client + serving, false},
		"begins":                           {"net/http.(*persistConn).readLoop", false},
		"nothing known":                    {"", false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, stack.BodyOpen(of(c.stack))) })
	}
}

func TestBlockingOf(t *testing.T) {
	for name, c := range map[string]struct {
		stack string
		want  stack.Blocking
	}{
		"a sync":                  {"syscall.Syscall < syscall.fsync < syscall.Fsync < internal/poll.(*FD).Fsync < os.(*File).Sync < main.save", stack.Storage},
		"a rename":                {"syscall.Syscall6 < syscall.Renameat < syscall.Rename < os.rename < os.Rename < main.save", stack.Storage},
		"a file lock":             {"syscall.Syscall < syscall.Flock < main.lock", stack.Idle},
		"a lock of a range":       {"syscall.Syscall < syscall.FcntlFlock < main.lock", stack.Idle},
		"a sleep by x/sys":        {"golang.org/x/sys/unix.Syscall < golang.org/x/sys/unix.Nanosleep < main.pace", stack.Idle},
		"another process":         {"syscall.Syscall6 < internal/syscall/unix.Waitid < os.(*Process).blockUntilWaitable < os.(*Process).Wait < main.run", stack.Idle},
		"C":                       {"runtime.cgocall < main._Cfunc_usleep < main.pace", stack.Idle},
		"C, in a trace":           {"main._Cfunc_usleep < main.pace", stack.Idle},
		"a sync that C asked for": {"syscall.Syscall < syscall.fsync < syscall.Fsync < main.save < main._cgoexp_0123_save < runtime.cgocallbackg1 < runtime.cgocallbackg < runtime.cgocallback < runtime.cgocall < main._Cfunc_run < main.run", stack.Storage},
		"a file, pipe or socket":  {"syscall.Syscall < syscall.read < syscall.Read < internal/poll.(*FD).Read < os.(*File).Read < main.load", stack.Transfer},
		"a socket":                {"syscall.Syscall < syscall.write < syscall.Write < internal/poll.(*FD).Write < net.(*netFD).Write < net.(*conn).Write < main.send", stack.Polled},
		"a file sent to a socket": {"syscall.Syscall6 < syscall.Sendfile < internal/poll.sendFile < internal/poll.SendFile < net.sendFile < net.(*TCPConn).readFrom < main.send", stack.Polled},
		"no call":                 {"runtime.gopark < main.wait", stack.Transfer},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, stack.BlockingOf(of(c.stack))) })
	}
}

func TestAwaitsTurn(t *testing.T) {
	assert.True(t, app.AwaitsTurn(of("runtime.gopark < runtime.semacquire1 < internal/poll.runtime_Semacquire < internal/poll.(*fdMutex).rwlock < internal/poll.(*FD).writeLock < internal/poll.(*FD).Write < os.(*File).Write < main.save")))
	assert.False(t, app.AwaitsTurn(of(write+" < main.save")))
	assert.False(t, app.AwaitsTurn(of("time.Sleep < main.slow < internal/poll.(*fdMutex).rwlock")), "only what the program's innermost function calls counts")
}
