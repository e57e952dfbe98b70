package stack

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// frames are the functions of a stack, innermost first.
func framesOf(functions string) []Frame {
	var out []Frame
	for _, f := range strings.Fields(functions) {
		name, line, found := strings.Cut(f, "@")
		x := Frame{Function: name, File: "f.go"}
		if found {
			x.Line = int(line[0] - '0')
		}
		out = append(out, x)
	}
	return out
}

const serve = " net/http.(*conn).serve"

func TestStageOf(t *testing.T) {
	for _, c := range []struct {
		frames string
		want   Stage
	}{
		{"", NoStage},
		{"time.Sleep main.work", NoStage},
		{"net.(*conn).Read net/http.(*connReader).Read bufio.(*Reader).fill bufio.(*Reader).Peek" + serve, Awaiting},
		{"net.(*conn).Read bufio.(*Reader).ReadLine net/http.readRequest net/http.(*conn).readRequest" + serve, Reading},
		{"net/http.(*connReader).startBackgroundRead" + serve, Starting},
		{"time.Sleep main.h net/http.HandlerFunc.ServeHTTP net/http.serverHandler.ServeHTTP" + serve, Handling},
		// A body that is read to its end in the handler starts it too.
		{"net/http.(*connReader).startBackgroundRead net/http.(*body).Read main.h net/http.serverHandler.ServeHTTP" + serve, Handling},
		{"syscall.write net/http.(*response).finishRequest" + serve, Ending},
		{"sync.(*Cond).Wait net/http.(*connReader).abortPendingRead net/http.(*conn).hijackLocked net/http.(*response).Hijack main.h net/http.serverHandler.ServeHTTP" + serve, Hijacking},
		// Where nothing was to be waited for, it is seen by what follows.
		{"net.(*conn).Read net/http.(*connReader).Read bufio.(*Reader).fill bufio.(*Reader).ReadString main.echo net/http.serverHandler.ServeHTTP" + serve, Hijacking},
		{"net.(*conn).Read net/http.(*connReader).Read bufio.(*Reader).Read io.(*LimitedReader).Read net/http.(*body).readLocked net/http.(*body).Read main.h net/http.serverHandler.ServeHTTP" + serve, Handling},
		{"runtime.ready context.(*cancelCtx).cancel context.WithCancel.func1" + serve, Passing},
		{"main.hook net/http.(*conn).setState" + serve, Passing},
		{"runtime.asyncPreempt" + serve, Passing},
		{"net.(*conn).Close net/http.(*conn).close net/http.(*conn).serve.func1" + serve, Connection},
		{"crypto/tls.(*Conn).HandshakeContext" + serve, Connection},
		{"runtime.selectgo net/http.(*http2serverConn).serve net/http.(*Server).x" + serve, Connection},
		{"golang.org/x/net/http2.(*serverConn).serve h2c.h net/http.serverHandler.ServeHTTP" + serve, Connection},
		{"time.Sleep main.h net/http.(*http2serverConn).runHandler", Handling},
		{"time.Sleep main.h golang.org/x/net/http2.(*serverConn).runHandler", Handling},
		{"net/http.(*conn).serve", Passing},
	} {
		assert.Equal(t, c.want, StageOf(framesOf(c.frames)), c.frames)
	}
}

func TestEndpoint(t *testing.T) {
	p := Program{MainModule: "example.com/shop"}
	const chain = " net/http.HandlerFunc.ServeHTTP net/http.(*ServeMux).ServeHTTP net/http.serverHandler.ServeHTTP" + serve
	for _, c := range []struct{ frames, want string }{
		{"time.Sleep main.load main.item" + chain, "main.item"},
		{"time.Sleep main.item net/http.HandlerFunc.ServeHTTP main.logged.func1" + chain, "main.item"},
		{"time.Sleep main.logged.func1" + chain, "main.logged.func1"},
		{"time.Sleep example.com/shop/cart.(*API).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, "example.com/shop/cart.(*API).ServeHTTP"},
		// A router of a library's is passed by where the program is behind it.
		{"time.Sleep main.item github.com/a/router.(*Engine).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, "main.item"},
		{"time.Sleep github.com/a/router.(*Engine).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, "github.com/a/router.(*Engine).ServeHTTP"},
		{"syscall.read os.(*File).Read net/http.(*fileHandler).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, "net/http.(*fileHandler).ServeHTTP"},
		{"time.Sleep main.item net/http.HandlerFunc.ServeHTTP net/http.(*timeoutHandler).ServeHTTP.func1", "main.item"},
		{"runtime.selectgo net/http.(*timeoutHandler).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, ""},
		{"net/http.serverHandler.ServeHTTP" + serve, ""},
		{"runtime.asyncPreempt net/http.(*ServeMux).findHandler net/http.(*ServeMux).ServeHTTP net/http.serverHandler.ServeHTTP" + serve, ""},
		{"runtime.asyncPreempt net/http.NotFound" + chain, "net/http.NotFound"},
		{"time.Sleep main.h net/http.(*http2serverConn).runHandler", "main.h"},
		{"time.Sleep main.work", ""},
	} {
		f, rank := p.Endpoint(framesOf(c.frames))
		assert.Equal(t, c.want, f.Function, c.frames)
		assert.Equal(t, c.want != "", rank > 0, c.frames)
		assert.Zero(t, f.Line)
	}
	_, outer := p.Endpoint(framesOf("time.Sleep main.logged.func1" + chain))
	_, inner := p.Endpoint(framesOf("time.Sleep main.item net/http.HandlerFunc.ServeHTTP main.logged.func1" + chain))
	assert.Greater(t, inner, outer)
}

func TestShared(t *testing.T) {
	p := Program{MainModule: "example.com/shop"}
	for _, c := range []struct {
		earlier, later, want string
		line                 int
	}{
		{"time.Sleep@1 main.load@2 main.item@3", "sync.(*Mutex).Lock@1 main.get@9 main.item@5", "main.item", 5},
		{"time.Sleep@1 main.load@2 main.item@3", "sync.(*Mutex).Lock@1 main.load@7 main.item@3", "main.load", 7},
		// Two calls from two lines: that both are of load tells nothing.
		{"time.Sleep@1 main.load@2 main.item@3", "time.Sleep@1 main.load@2 main.item@4", "main.item", 4},
		{"syscall.read@1 net/http.(*conn).serve@2", "syscall.write@1 net/http.(*conn).serve@3", "", 0},
		{"a@1 github.com/x/lib.Do@1 main.item@3", "b@1 github.com/x/lib.Do@2 main.item@3", "main.item", 3},
		{"", "time.Sleep@1 main.item@3", "", 0},
	} {
		f := p.Shared(framesOf(c.earlier), framesOf(c.later))
		assert.Equal(t, c.want, f.Function, "%s, then %s", c.earlier, c.later)
		assert.Equal(t, c.line, f.Line)
	}
}

func TestSystemCall(t *testing.T) {
	for _, c := range []struct{ frames, want string }{
		{"syscall.write syscall.Write internal/poll.(*FD).Write main.f", "syscall.Write"},
		{"internal/runtime/syscall.Syscall6 syscall.Syscall syscall.fsync syscall.Fsync os.(*File).Sync", "syscall.Fsync"},
		{"golang.org/x/sys/unix.EpollWait main.loop", "golang.org/x/sys/unix.EpollWait"},
		{"runtime.cgocall main.f", ""},
		{"", ""},
	} {
		assert.Equal(t, c.want, SystemCall(framesOf(c.frames)), c.frames)
	}
}

func TestStartsHTTP2Handler(t *testing.T) {
	assert.True(t, StartsHTTP2Handler(framesOf("net/http.(*http2serverConn).processHeaders net/http.(*http2serverConn).processFrame")))
	assert.True(t, StartsHTTP2Handler(framesOf("net/http.(*http2serverConn).scheduleHandler net/http.(*http2serverConn).processHeaders")))
	assert.False(t, StartsHTTP2Handler(framesOf("net/http.(*http2serverConn).serve net/http.(*conn).serve")))
	assert.False(t, StartsHTTP2Handler(nil))
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		frames string
		want   bool
	}{
		{"", false},
		{"syscall.write net.(*conn).Write net/http.checkConnErrorWriter.Write bufio.(*Writer).Flush net/http.(*response).finishRequest" + serve, true},
		{"syscall.Syscall6 net.(*TCPConn).ReadFrom net/http.(*response).ReadFrom io.Copy main.h net/http.serverHandler.ServeHTTP" + serve, true},
		{"runtime.selectgo net/http.(*http2serverConn).writeFrameFromHandler net/http.(*http2serverConn).writeDataFromHandler net/http.(*http2serverConn).runHandler", true},
		{"runtime.selectgo net/http.(*http2serverConn).writeDataFromHandler net/http.(*http2serverConn).runHandler", false}, // it waits until it is written
		{"syscall.write net.(*conn).Write main.(*database).ask main.h net/http.serverHandler.ServeHTTP" + serve, false},
	} {
		assert.Equal(t, c.want, Answers(framesOf(c.frames)), c.frames)
	}
}
