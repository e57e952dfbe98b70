package request

// percentEncodeAll is percentEncode of every value. Where nothing needs it, the
// values are shared.
func percentEncodeAll(values []string) []string {
	var out []string
	for i, v := range values {
		encoded := percentEncode(v)
		if out == nil && encoded != v {
			out = append(make([]string, 0, len(values)), values[:i]...)
		}
		if out != nil {
			out = append(out, encoded)
		}
	}
	if out == nil {
		return values
	}
	return out
}

// percentEncode encodes every byte but the unreserved ones of RFC 3986, section
// 2.3. The escapes of net/url do not serve both in a path and in a query: one
// leaves & and = alone, the other makes a space a plus.
func percentEncode(s string) string {
	const hexDigits = "0123456789ABCDEF"
	more := 0
	for i := range len(s) {
		if !unreserved(s[i]) {
			more += 2
		}
	}
	if more == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+more)
	for i := range len(s) {
		if b := s[i]; unreserved(b) {
			out = append(out, b)
		} else {
			out = append(out, '%', hexDigits[b>>4], hexDigits[b&0xf])
		}
	}
	return string(out)
}

func unreserved(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' ||
		b == '-' || b == '.' || b == '_' || b == '~'
}
