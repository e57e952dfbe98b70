package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// head is the parser of a status line and a header. It takes bytes as they come
// and looks at each once; all positions count from the first byte of the head, so
// that the bytes may move meanwhile. What is accepted is what net/textproto does.
type head struct {
	begun bool // the status line is over
	pos   int  // where the next line begins
	seen  int  // no newline between pos and here

	statusEnd int // of the status line, without its newline
	fields    []field
}

// field is one line of a header, with the lines folded onto it.
type field struct {
	name, nameEnd   int
	value, valueEnd int
	plain           bool // the name is in canonical form already
	folded          bool
}

func (h *head) reset() {
	*h = head{fields: h.fields[:0]}
}

// parse goes on with data, which begins with the first byte of the head. It
// says whether the head is whole; then it is data[:h.pos].
func (h *head) parse(data []byte) (whole bool, err error) {
	for {
		i := bytes.IndexByte(data[h.seen:], '\n')
		if i < 0 {
			h.seen = len(data)
			return false, nil
		}
		start, end := h.pos, h.seen+i
		h.pos, h.seen = end+1, end+1
		if end > start && data[end-1] == '\r' {
			end--
		}
		if !h.begun {
			h.begun, h.statusEnd = true, end
			if err := checkStatusLine(data[start:end]); err != nil {
				return false, err
			}
			continue
		}
		if start == end {
			return true, nil
		}
		if err := h.line(data, start, end); err != nil {
			return false, err
		}
	}
}

// line takes the line data[start:end] of a header.
func (h *head) line(data []byte, start, end int) error {
	for end > start && isBlank(data[end-1]) {
		end--
	}
	if start == end || isBlank(data[start]) {
		if len(h.fields) == 0 {
			return malformed("the header begins with a blank: %.40q", data[start:end])
		}
		f := &h.fields[len(h.fields)-1]
		f.folded = true
		f.valueEnd = end
		return checkValue(data[start:end])
	}
	line := data[start:end]
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return malformed("header line without a name: %.40q", line)
	}
	plain, err := checkName(line[:colon])
	if err != nil {
		return err
	}
	value := colon + 1
	for value < len(line) && isBlank(line[value]) {
		value++
	}
	if err := checkValue(line[value:]); err != nil {
		return err
	}
	h.fields = append(h.fields, field{name: start, nameEnd: start + colon, value: start + value, valueEnd: end, plain: plain})
	return nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func checkValue(value []byte) error {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return malformed("byte %#02x in a header's value", c)
		}
	}
	return nil
}

// checkName says whether name is in canonical form: "Content-Type".
func checkName(name []byte) (plain bool, err error) {
	plain, upper := true, true
	for _, c := range name {
		switch nameBytes[c] {
		case 0:
			return false, malformed("byte %#02x in a header's name", c)
		case 'l':
			plain = plain && !upper
		case 'u':
			plain = plain && upper
		case ' ':
			// net/http keeps such a name as it came.
			plain = false
		}
		upper = c == '-'
	}
	return plain, nil
}

// nameBytes says what each byte is in a header's name: 0 not allowed, a lower or
// an upper case letter, a space, or another (RFC 9110 5.6.2).
var nameBytes = func() (kind [256]byte) {
	for c := range 256 {
		switch {
		case 'a' <= c && c <= 'z':
			kind[c] = 'l'
		case 'A' <= c && c <= 'Z':
			kind[c] = 'u'
		case c == ' ':
			kind[c] = ' '
		case '0' <= c && c <= '9', c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0:
			kind[c] = 'o'
		}
	}
	return kind
}()

// statusLine is a parsed status line; positions count from its first byte.
type statusLine struct {
	protoEnd, status int
	code             int
	major, minor     int
}

func checkStatusLine(line []byte) error {
	_, err := parseStatusLine(line)
	return err
}

func parseStatusLine(line []byte) (s statusLine, err error) {
	s.protoEnd = bytes.IndexByte(line, ' ')
	if s.protoEnd < 0 {
		return s, malformed("status line %.40q", line)
	}
	proto := line[:s.protoEnd]
	if len(proto) != len("HTTP/1.1") || string(proto[:5]) != "HTTP/" || proto[6] != '.' || !isDigit(proto[5]) || !isDigit(proto[7]) {
		return s, malformed("version %.40q in the status line", proto)
	}
	s.major, s.minor = int(proto[5]-'0'), int(proto[7]-'0')
	s.status = s.protoEnd
	for s.status < len(line) && line[s.status] == ' ' {
		s.status++
	}
	code, _, _ := bytes.Cut(line[s.status:], []byte{' '})
	if len(code) != 3 {
		return s, malformed("status code %.40q", code)
	}
	if isDigit(code[0]) && isDigit(code[1]) && isDigit(code[2]) {
		s.code = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
		return s, nil
	}
	// net/http also takes a sign: +99, and -00.
	s.code, err = strconv.Atoi(string(code))
	if err != nil || s.code < 0 {
		return s, malformed("status code %.40q", code)
	}
	return s, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// The header fields that decide how the response goes on.
const (
	hasConnection = 1 << iota
	hasContentLength
	hasTransferEncoding
	hasTrailer
	hasPragma
)

// header makes the fields of a whole head into a map. text is the head; values
// lends memory for as many values as it has elements.
func (h *head) header(text string, values []string) (header http.Header, special int) {
	header = make(http.Header, len(h.fields))
	for i := range h.fields {
		f := &h.fields[i]
		name := text[f.name:f.nameEnd]
		if !f.plain {
			name = textproto.CanonicalMIMEHeaderKey(name)
		}
		value := text[f.value:max(f.value, f.valueEnd)]
		if f.folded {
			value = unfold(text[f.nameEnd+1 : f.valueEnd])
		}
		switch name {
		case "Connection":
			special |= hasConnection
		case "Content-Length":
			special |= hasContentLength
		case "Transfer-Encoding":
			special |= hasTransferEncoding
		case "Trailer":
			special |= hasTrailer
		case "Pragma":
			special |= hasPragma
		}
		if earlier := header[name]; earlier != nil {
			header[name] = append(earlier, value)
			continue
		}
		if len(values) == 0 {
			values = make([]string, len(h.fields)-i)
		}
		values[0] = value
		header[name], values = values[:1:1], values[1:]
	}
	return header, special
}

// unfold joins the lines of a folded value with one space each.
func unfold(raw string) string {
	var value strings.Builder
	for i, line := range strings.Split(raw, "\n") {
		line = strings.Trim(strings.TrimSuffix(line, "\r"), " \t")
		if i > 0 {
			value.WriteByte(' ')
		}
		value.WriteString(line)
	}
	return strings.TrimLeft(value.String(), " \t")
}
