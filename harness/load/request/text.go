package request

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"chokepoint/harness/strictyaml"
)

// braced is what may be a placeholder: one word in braces. JSON, with its
// quotes, has none.
var braced = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_.-]+)?)\}`)

// place is where in a request a text stands.
type place int

const (
	inPath place = iota
	inHeader
	inBody
)

type pieceKind int

const (
	literal pieceKind = iota
	seqPiece
	tokenPiece
	valuePiece
)

// piece is a part of a text: literal, or what a placeholder stands for.
type piece struct {
	kind    pieceKind
	literal string
	rows    []string // of a valuePiece, as they are sent
	name    string   // of a valuePiece: the placeholder
	from    *Values
}

// text is a text with placeholders, made ready to be filled in many times.
type text []piece

// vocabulary is what placeholders may stand for, by name.
type vocabulary struct {
	columns map[string]column
	names   []string // seq and token first, then as the files have them
}

type column struct {
	rows []string
	from *Values
}

const (
	seqName   = "seq"
	tokenName = "token"
)

func knownTo(values []Values) vocabulary {
	v := vocabulary{columns: map[string]column{}, names: []string{seqName, tokenName}}
	for i := range values {
		for _, c := range values[i].Columns {
			name := values[i].placeholder(c)
			v.columns[name] = column{rows: c.Rows, from: &values[i]}
			v.names = append(v.names, name)
		}
	}
	return v
}

// parse reads a text. Values are not encoded yet: see encoded.
func (v vocabulary) parse(s string, where place) (text, error) {
	var t text
	from := 0
	for _, at := range braced.FindAllStringSubmatchIndex(s, -1) {
		name := s[at[2]:at[3]]
		p, known := v.piece(name)
		if !known {
			near := v.near(name)
			if where == inBody && near == "" {
				continue
			}
			return nil, v.unknown(name, near, where)
		}
		if at[0] > from {
			t = append(t, piece{literal: s[from:at[0]]})
		}
		t = append(t, p)
		from = at[1]
	}
	if from < len(s) {
		t = append(t, piece{literal: s[from:]})
	}
	return t, nil
}

func (v vocabulary) piece(name string) (piece, bool) {
	switch name {
	case seqName:
		return piece{kind: seqPiece}, true
	case tokenName:
		return piece{kind: tokenPiece}, true
	}
	c, ok := v.columns[name]
	return piece{kind: valuePiece, rows: c.rows, name: name, from: c.from}, ok
}

// near is the name that was most likely meant, or "".
func (v vocabulary) near(name string) string {
	if near := strictyaml.Nearest(name, v.names); near != "" {
		return near
	}
	// The file is right and the column is not, or was left out.
	file, _, _ := strings.Cut(name, ".")
	for _, known := range v.names {
		if knownFile, _, _ := strings.Cut(known, "."); knownFile == file {
			return known
		}
	}
	return ""
}

func (v vocabulary) unknown(name, near string, where place) error {
	asText := "{ " + name + " }"
	if where == inPath {
		asText = "%7B" + name + "%7D"
	}
	guess := "known are {" + strings.Join(v.names, "}, {") + "}"
	if near != "" {
		guess = "did you mean {" + near + "}?"
	}
	return fmt.Errorf("unknown placeholder {%s}; %s (if it is text, write %s)", name, guess, asText)
}

// encoded is t with its values as they are sent in a path.
func (t text) encoded() text {
	out := make(text, len(t))
	for i, p := range t {
		if p.kind == valuePiece {
			p.rows = percentEncodeAll(p.rows)
		}
		out[i] = p
	}
	return out
}

// fixed reports whether t is the same in every request.
func (t text) fixed() bool {
	for _, p := range t {
		if p.kind != literal {
			return false
		}
	}
	return true
}

// size is at least the length in bytes of t in request n.
func (t text) size(n uint64) int {
	const seqDigits = 20 // of the largest uint64
	size := 0
	for i := range t {
		switch p := &t[i]; p.kind {
		case literal:
			size += len(p.literal)
		case seqPiece:
			size += seqDigits
		case tokenPiece:
			size += tokenLen
		case valuePiece:
			size += len(p.rows[n%uint64(len(p.rows))])
		}
	}
	return size
}

// appendTo appends t as it stands in request n.
func (t text) appendTo(dst []byte, n uint64, made tokens) []byte {
	for i := range t {
		switch p := &t[i]; p.kind {
		case literal:
			dst = append(dst, p.literal...)
		case seqPiece:
			dst = strconv.AppendUint(dst, n, 10)
		case tokenPiece:
			dst = made.appendTo(dst, n)
		case valuePiece:
			dst = append(dst, p.rows[n%uint64(len(p.rows))]...)
		}
	}
	return dst
}

// sample is t as it may be sent in a path: with number 0 and the first rows.
func (t text) sample() string {
	var out []byte
	for _, p := range t {
		if p.kind == valuePiece {
			out = append(out, percentEncode(p.rows[0])...)
			continue
		}
		out = text{p}.appendTo(out, 0, tokens{})
	}
	return string(out)
}

// validInHeader says which value cannot stand in a header.
func (t text) validInHeader() error {
	for _, p := range t {
		if p.kind != valuePiece {
			continue
		}
		for i, value := range p.rows {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("%s: {%s} is %q, which is not valid in a header; want no line breaks or other control characters",
					p.from.position(i), p.name, value)
			}
		}
	}
	return nil
}
