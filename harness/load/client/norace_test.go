//go:build !race

package client

// thousand is how many requests are in flight at a time.
const thousand = 1000
