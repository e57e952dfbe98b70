// Package client makes the http.RoundTrippers of an attack: one for polite
// requests, over a pool of connections, and one for each kind of badly behaved
// client, over a connection of its own for each request.
//
// # Engines
//
// Plain HTTP/1.1 goes through the lean engine (package http1) unless net/http is
// asked for. TLS and HTTP/2 go through net/http's connections. Their pool is made
// here, on http.Transport.NewClientConn, for three reasons: a single connection
// never sends a request twice, while http.Transport repeats some when a connection
// fails, which hides failures of the target; connections can be kept open before
// they are needed, with TLS and HTTP/2 ready; and the number of HTTP/2 connections
// is a decision, not an outcome.
//
// # HTTP/2 connections
//
// A server bounds the streams of one connection (Go 250, nginx 128; RFC 9113,
// section 6.5.2, recommends no fewer than 100), so 10,000 requests in flight need
// many. When the plan names a number of connections there are exactly so many;
// what does not fit waits, and Waiting tells how many do. Otherwise there is one
// for each 80 requests in flight, which leaves room under 100 for streams that are
// just ending, and more are opened when the server's limits are lower. Requests
// take the connections in turn.
//
// # Source addresses
//
// One address has about 28,000 local ports towards one peer. Connections take the
// plan's source addresses in turn; without any, 127.0.0.1 and those after it are
// used towards a peer in 127.0.0.0/8 once one address would run short. A socket is
// bound with IP_BIND_ADDRESS_NO_PORT, so that its port is chosen at connect, when
// the kernel may use one again that another peer has, or that is in TIME_WAIT.
package client
