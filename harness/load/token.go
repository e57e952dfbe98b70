package load

import (
	"bytes"
	"math/rand/v2"
)

// A token is tokenPrefix and tokenHex lower-case hexadecimal digits. No
// character of the prefix is a hexadecimal digit, and its first occurs in it
// only once, so that a scan never has to step back. It needs no escaping in
// URLs, headers, JSON or HTML.
const (
	tokenPrefix = "tkn_"
	tokenHex    = 24
	tokenLen    = len(tokenPrefix) + tokenHex
)

// tokens makes the tokens of one attack.
type tokens struct {
	run uint32 // tells this attack from others
	key uint64
}

func newTokens() tokens { return tokens{run: rand.Uint32(), key: rand.Uint64()} }

// token is the token of request seq. Mixing is a bijection, so that no two
// requests share one; a neighbour's token cannot be had by counting.
func (t tokens) token(seq uint64) []byte {
	x := seq ^ t.key
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	out := make([]byte, 0, tokenLen)
	out = append(out, tokenPrefix...)
	out = appendHex(out, uint64(t.run), 8)
	return appendHex(out, x, 16)
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const hexDigits = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[v>>(4*i)&0xf])
	}
	return dst
}

// tokenScan looks for tokens in a body that arrives in pieces.
type tokenScan struct {
	want    []byte
	partial [tokenLen]byte // what may become a token
	n       int            // bytes of it so far

	own     bool   // the wanted token was seen
	foreign string // the first other token, with what stands around it
}

// scan reads the next piece of the body.
func (s *tokenScan) scan(p []byte) {
	for i := 0; i < len(p); i++ {
		if s.n == 0 {
			// Most of a body holds no token: skip to the next candidate fast.
			skip := bytes.IndexByte(p[i:], tokenPrefix[0])
			if skip < 0 {
				return
			}
			i += skip
		}
		if !tokenByte(s.n, p[i]) {
			s.n = 0
			if p[i] != tokenPrefix[0] {
				continue
			}
		}
		s.partial[s.n] = p[i]
		s.n++
		if s.n == tokenLen {
			s.found(p, i+1)
			s.n = 0
		}
	}
}

func tokenByte(position int, b byte) bool {
	if position < len(tokenPrefix) {
		return b == tokenPrefix[position]
	}
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f'
}

// found takes note of the token that ends before p[end].
func (s *tokenScan) found(p []byte, end int) {
	if bytes.Equal(s.partial[:], s.want) {
		s.own = true
		return
	}
	if s.foreign == "" {
		const around = 40
		from := max(0, end-tokenLen-around)
		s.foreign = string(p[from:min(len(p), end+around)])
		if end < tokenLen { // it began in an earlier piece
			s.foreign = string(s.partial[:]) + string(p[end:min(len(p), end+around)])
		}
	}
}
