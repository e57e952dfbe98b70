package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"chokepoint/harness/load/http1"
)

func TestKindOf(t *testing.T) {
	op := func(op string, err error) error {
		return &net.OpError{Op: op, Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}, Err: os.NewSyscallError(op, err)}
	}
	lean := func(phase http1.Phase, err error) error { return &http1.Error{Phase: phase, Err: err} }
	tests := []struct {
		err  error
		want string
	}{
		{op("dial", syscall.ECONNREFUSED), "connection refused"},
		{op("read", syscall.ECONNRESET), "connection reset"},
		{op("write", syscall.EPIPE), "connection closed while sending"},
		{op("dial", syscall.EMFILE), "too many open files in the load generator"},
		{op("dial", syscall.ENFILE), "too many open files in the load generator"},
		{op("dial", syscall.EADDRNOTAVAIL), "no free local port"},
		{op("dial", syscall.ETIMEDOUT), "timeout connecting"},
		{op("read", syscall.ETIMEDOUT), "timeout"},
		{fmt.Errorf("get: %w", context.DeadlineExceeded), "timeout"},
		{&net.DNSError{Name: "nowhere"}, "host not found"},
		{io.EOF, "connection closed before a response"},
		{io.ErrUnexpectedEOF, "response cut short"},
		{lean(http1.PhaseWait, http1.ErrTimeout), "timeout waiting for a connection"},
		{lean(http1.PhaseConnect, http1.ErrTimeout), "timeout connecting"},
		{lean(http1.PhaseSend, http1.ErrTimeout), "timeout sending the request"},
		{lean(http1.PhaseResponse, http1.ErrTimeout), "timeout waiting for the response"},
		{fmt.Errorf("around: %w", lean(http1.PhaseRead, http1.ErrTimeout)), "timeout in the middle of the response"},
		{lean(http1.PhaseConnect, op("dial", syscall.ECONNREFUSED)), "connection refused"},
		{lean(http1.PhaseResponse, http1.ErrNoResponse), "connection closed before a response"},
		{lean(http1.PhaseRead, io.ErrUnexpectedEOF), "response cut short"},
		{lean(http1.PhaseRead, fmt.Errorf("%w: chunk size %q", http1.ErrMalformed, "zz")), "malformed response"},
		{lean(http1.PhaseConnect, op("dial", syscall.EHOSTUNREACH)), "connect: dial tcp ADDRESS: dial: no route to host"},
		{errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "x"`), "malformed response"},
		{errors.New("http: server closed idle connection"), "connection closed before a response"},
		{errors.New("connect: wait for HTTP/2 settings: connection closed"), "connection closed before HTTP/2 began"},
		{errors.New("read tcp 127.0.0.1:40312->127.0.0.1:8080: odd"), "read tcp ADDRESS->ADDRESS: odd"},
		{errors.New("read tcp [::1]:40312->[::1]:8080: odd"), "read tcp ADDRESS->ADDRESS: odd"},
		{errors.New("stream error: stream ID 7; INTERNAL_ERROR; at 0xc0ffee"), "stream error: stream ID N; INTERNAL_ERROR; at N"},
		{errors.New(`odd "value 1" at localhost:40312 after 17 bytes` + "\nmore"), `odd "..." at localhost:PORT after N bytes`},
		{errors.New(strings.Repeat("é", 200)), strings.Repeat("é", 60) + "..."},
		{errors.New(""), "other"},
		{errors.New("\n"), "other"},
	}
	for _, tc := range tests {
		kind := KindOf(tc.err)
		assert.Equal(t, tc.want, kind, "%v", tc.err)
		assert.Equal(t, strings.HasPrefix(tc.want, "timeout"), isTimeout(kind))
	}
}

func FuzzKindOf(f *testing.F) {
	f.Add("read tcp 127.0.0.1:40312->127.0.0.1:8080: odd")
	f.Add(`odd "value 1" at localhost:40312 after 17 bytes`)
	standing := regexp.MustCompile(`(?:^|[ =])[0-9]+(?:$|[ ;,])`)
	f.Fuzz(func(t *testing.T, text string) {
		kind := KindOf(errors.New(text))
		assert.NotEmpty(t, kind)
		assert.LessOrEqual(t, len(kind), 123)
		assert.NotContains(t, kind, "\n")
		assert.NotRegexp(t, standing, kind)
		assert.Equal(t, strings.ToValidUTF8(kind, ""), kind)
	})
}
