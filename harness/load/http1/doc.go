// Package http1 is an HTTP/1.1 client, as an http.RoundTripper, that costs as
// little as a client in Go can: it is what a load generator sends through.
//
// # What it saves
//
// net/http gives each connection two goroutines, two buffers and, for each
// request, several channels and a context. Here a connection is a socket and a
// few words of state. The goroutine that calls RoundTrip writes the request and
// parks until the socket is readable; that is two system calls and one switch of
// goroutines a request. Buffers are borrowed while bytes are in hand, never while
// waiting, so that 10,000 requests in flight hold none. Time limits are enforced
// by one sweep over all connections, not by a timer a request.
//
// A client with 10,000 connections that is short of CPU finds responses that have
// lain in their sockets for longer than the server took. With Options.Arrivals the
// kernel says for how long.
//
// Only what is not common takes a slower way: a request that does not fit into
// the socket's send buffer, or whose body is not in memory, is sent by a goroutine
// of its own, so that a response that comes early is read while the body still
// leaves.
//
// # What it does as net/http
//
// The request on the wire, and what is accepted as a response: status line,
// header, Content-Length, chunked encoding, trailers, HEAD, 1xx, 204 and 304,
// HTTP/1.0, connections kept and closed. Tests hold the two to the same answers.
//
// # What it does otherwise, on purpose
//
//   - A request is sent once. net/http repeats some requests by itself when a
//     connection ends; a load generator must show that. A kept connection that
//     is found closed before a byte of the request was written is replaced.
//   - 101 Switching Protocols and CONNECT are refused.
//   - Trailers of a request are refused.
//   - A body of unknown length is sent chunked whatever the method; net/http
//     first looks whether it is empty when the method is GET, HEAD or the like.
//   - Request.Cancel, Request.GetBody and httptrace are not looked at.
//   - Every wait is bounded by Options.Timeout, also with no deadline in the
//     request's context.
package http1
