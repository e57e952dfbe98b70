// Command feed sends long answers. Its mode knob says to whom:
//
//	export  an account's statements, to the client that asks for them
//	mirror  each statement that is asked for, to a mirror of the archive as well
//
// In the flawed variant a write waits as long as its reader likes; in the fixed one
// it has a deadline, and a reader that does not read is dropped.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"chokepoint/targets/kit"
)

func main() {
	kit.Companions(companions())
	kit.Run(service())
}

// companions are the mirrors, in a process of their own.
func companions() map[string]func(net.Listener) error {
	return map[string]func(net.Listener) error{"mirrors": serveMirrors}
}

func service() kit.Service {
	return kit.Service{
		About: "Statements of accounts: GET /statements?account=N",
		Knobs: map[string]string{
			"mode":   "export|mirror",
			"delay":  "2500ms", // what a request waits for other services first
			"size":   "128KiB", // of the statements of an account
			"grace":  "1s",     // how long a write may wait in the fixed variant
			"silent": "0",      // one account in so many is on a mirror that does not read (mode mirror); 0: none is
		},
		Build:  build,
		Listen: smallBuffers,
	}
}

func build(ctx context.Context, o kit.Options) (http.Handler, error) {
	switch mode := o.String("mode"); mode {
	case "export":
		return newExportAPI(ctx, o), nil
	case "mirror":
		return newMirrorAPI(ctx, o)
	default:
		return nil, fmt.Errorf("mode %q is not built", mode)
	}
}

// writeBuffer is what the kernel may keep of a connection's answers, in bytes. Left
// to itself it keeps up to 4 MiB, and with 10,000 clients that do not read all of
// the memory that it has for TCP.
const writeBuffer = 16 << 10

// smallBuffers bounds the write buffers of all connections.
func smallBuffers(_ context.Context, _ kit.Options, l net.Listener) (net.Listener, error) {
	return bounded{l}, nil
}

type bounded struct{ net.Listener }

func (b bounded) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(writeBuffer) // a connection that is gone already says so when it is used
	}
	return c, err
}

// account returns the account that r is for, or answers r with what is wrong.
func account(w http.ResponseWriter, r *http.Request) (n int, ok bool) {
	n, err := strconv.Atoi(r.URL.Query().Get("account"))
	if err != nil || n < 0 {
		http.Error(w, "account: give a whole number, 0 or more", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}
