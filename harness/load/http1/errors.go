package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// Phase is what a request was at when it failed.
type Phase string

// The phases, in the order in which a request passes them.
const (
	PhaseBuild    Phase = "build the request"
	PhaseWait     Phase = "wait for a connection"
	PhaseConnect  Phase = "connect"
	PhaseSend     Phase = "send the request"
	PhaseResponse Phase = "wait for the response" // nothing of it has come
	PhaseRead     Phase = "read the response"
)

// Error is how a request failed. RoundTrip and the bodies of responses return
// no other, but for io.EOF at the end of a body.
type Error struct {
	Phase Phase
	Err   error
}

func (e *Error) Error() string { return "http1: " + string(e.Phase) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout says whether a time limit ended the request; net/http asks for it.
func (e *Error) Timeout() bool {
	var timeout net.Error
	return errors.As(e.Err, &timeout) && timeout.Timeout()
}

var (
	// ErrClosed ends requests whose Transport was closed.
	ErrClosed = errors.New("the client has hung up")
	// ErrMalformed is wrapped with what is wrong in the response.
	ErrMalformed = errors.New("malformed response")
	// ErrSwitched ends a request that was answered with 101 Switching Protocols.
	ErrSwitched = errors.New("the server switches protocols (101), which this client does not")
	// ErrNoResponse is a connection that the server closed before the first byte
	// of a response. It wraps io.EOF.
	ErrNoResponse = fmt.Errorf("the connection was closed before a response: %w", io.EOF)
	// ErrTimeout ends requests that take longer than Options.Timeout. It is a
	// net.Error, and context.DeadlineExceeded by errors.Is.
	ErrTimeout error = timeoutError{}

	// errBodyClosed is what reading a closed body gives.
	errBodyClosed = errors.New("read on a closed body")
	// errUnsent says that the connection was found closed before anything was
	// written to it, so that the request may go over another.
	errUnsent = errors.New("closed before anything was sent")
)

type timeoutError struct{}

func (timeoutError) Error() string   { return "the time limit of the request is over" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
