package request

import "bytes"

// TokenScan looks for tokens in a body that arrives in pieces, through Write.
type TokenScan struct {
	want    string
	partial [tokenLen]byte // what may become a token
	n       int            // bytes of it so far

	own     bool
	foreign string
}

// NewTokenScan looks for token, which is what the request's TokenHeader holds.
func NewTokenScan(token string) TokenScan { return TokenScan{want: token} }

// Token is the token that is looked for.
func (s *TokenScan) Token() string { return s.want }

// Own reports whether the token was seen.
func (s *TokenScan) Own() bool { return s.own }

// Foreign is the first other token that was seen, with up to 40 bytes of what
// stands before and after it; "" if there was none.
func (s *TokenScan) Foreign() string { return s.foreign }

// Write reads the next piece of the body. It never fails.
func (s *TokenScan) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i++ {
		if s.n == 0 {
			// Most of a body holds no token: skip to the next candidate fast.
			skip := bytes.IndexByte(p[i:], tokenPrefix[0])
			if skip < 0 {
				break
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
	return len(p), nil
}

func tokenByte(position int, b byte) bool {
	if position < len(tokenPrefix) {
		return b == tokenPrefix[position]
	}
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f'
}

// found takes note of the token that ends before p[end].
func (s *TokenScan) found(p []byte, end int) {
	if string(s.partial[:]) == s.want {
		s.own = true
		return
	}
	if s.foreign != "" {
		return
	}
	const around = 40
	// What stood before a token that began in an earlier piece is gone.
	before := p[max(0, end-tokenLen-around):max(0, end-tokenLen)]
	after := p[end:min(len(p), end+around)]
	s.foreign = string(before) + string(s.partial[:]) + string(after)
}
