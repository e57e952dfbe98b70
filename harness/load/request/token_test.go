package request

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (t tokens) token(n uint64) string { return string(t.appendTo(nil, n)) }

func TestTokensDiffer(t *testing.T) {
	a, b := tokens{run: 1}, tokens{run: 2}
	seen := map[string]bool{}
	for seq := range uint64(1000) {
		for _, made := range []tokens{a, b} {
			token := made.token(seq)
			require.Len(t, token, tokenLen)
			require.Regexp(t, `^tkn_[0-9a-f]{24}$`, token)
			require.False(t, seen[token], token)
			seen[token] = true
		}
	}
	assert.NotEqual(t, newTokens(), newTokens())
}

func scanned(want, body string, size int) *TokenScan {
	s := NewTokenScan(want)
	for rest := []byte(body); len(rest) > 0; {
		n, _ := s.Write(rest[:min(size, len(rest))])
		rest = rest[n:]
	}
	return &s
}

func TestTokenScan(t *testing.T) {
	made := tokens{}
	own, other, third := made.token(1), made.token(2), made.token(3)
	tests := []struct {
		name, body   string
		own, foreign bool
	}{
		{"empty", "", false, false},
		{"own", `{"token":"` + own + `"}`, true, false},
		{"other", "x" + other, false, true},
		{"both", own + other, true, true},
		{"both, other first", other + own, true, true},
		{"two others", other + third, false, true},
		{"own twice", own + own, true, false},
		{"cut", own[:tokenLen-1], false, false},
		{"cut, then own", own[:9] + own, true, false},
		{"prefixes before", "tttkn_tkn" + own, true, false},
		{"prefix of other before own", "tkn_" + own, true, false},
		{"upper case", strings.ToUpper(other), false, false},
		{"longer", own + "00", true, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			// However the body is cut into pieces, the same is found.
			for size := 1; size <= len(tc.body)+1; size++ {
				s := scanned(own, tc.body, size)
				require.Equal(t, tc.own, s.Own(), "pieces of %d", size)
				require.Equal(t, tc.foreign, s.Foreign() != "", "pieces of %d", size)
				if tc.foreign {
					require.Contains(t, s.Foreign(), other, "pieces of %d", size)
				}
			}
		})
	}
	s := scanned(own, strings.Repeat("a", 50)+other+strings.Repeat("b", 50), 1000)
	assert.Equal(t, strings.Repeat("a", 40)+other+strings.Repeat("b", 40), s.Foreign())
	assert.Equal(t, own, s.Token())
}

func FuzzTokenScan(f *testing.F) {
	own := tokens{}.token(7)
	f.Add("tkn_0123456789abcdef01234567", 3)
	f.Add("tkn_tkn_ff"+own, 1)
	token := regexp.MustCompile(`tkn_[0-9a-f]{24}`)
	f.Fuzz(func(t *testing.T, body string, size int) {
		wantOwn, wantForeign := false, ""
		for _, found := range token.FindAllString(body, -1) {
			if found == own {
				wantOwn = true
			} else if wantForeign == "" {
				wantForeign = found
			}
		}
		s := scanned(own, body, max(1, size))
		require.Equal(t, wantOwn, s.Own())
		require.Equal(t, wantForeign != "", s.Foreign() != "")
		require.Contains(t, s.Foreign(), wantForeign)
	})
}
