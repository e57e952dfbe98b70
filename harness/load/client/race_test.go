//go:build race

package client

// thousand is less with the race detector, under which handshakes take seconds.
const thousand = 200
