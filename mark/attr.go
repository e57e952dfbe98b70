package mark

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// longestMessage is how much of a text the runtime keeps, in bytes.
const longestMessage = 1024

// CutKey is the attribute that says how many others were left out.
const CutKey = "mark.cut"

type attrKind uint8

const (
	textAttr attrKind = iota
	intAttr
	boolAttr
	durationAttr
)

// Attr is an attribute of a mark. Making one costs nothing but the copying of
// its few words.
type Attr struct {
	key  string
	text string
	num  int64
	kind attrKind
}

// String is an attribute with a text.
func String(key, value string) Attr { return Attr{key: key, text: value} }

// Int is an attribute with a whole number.
func Int(key string, value int) Attr { return Attr{key: key, num: int64(value), kind: intAttr} }

// Bool is an attribute that is true or false.
func Bool(key string, value bool) Attr {
	a := Attr{key: key, kind: boolAttr}
	if value {
		a.num = 1
	}
	return a
}

// Duration is an attribute with a duration, written as 1.5s.
func Duration(key string, value time.Duration) Attr {
	return Attr{key: key, num: int64(value), kind: durationAttr}
}

// Pair is an attribute as it stands in a trace.
type Pair struct{ Key, Value string }

// message writes attributes as the package's documentation says.
func message(attrs []Attr) string {
	// Room is kept for what says that some were left out.
	const room = longestMessage - len(" "+CutKey+"=") - 20
	var store [256]byte
	out := store[:0]
	cut := 0
	for i := range attrs {
		was := len(out)
		if was > 0 {
			out = append(out, ' ')
		}
		if out = attrs[i].append(out); len(out) > room {
			out = out[:was]
			cut++
		}
	}
	if cut > 0 {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(out, CutKey+"="...)
		out = strconv.AppendInt(out, int64(cut), 10)
	}
	return string(out)
}

func (a *Attr) append(out []byte) []byte {
	out = append(appendKey(out, a.key), '=')
	switch a.kind {
	case intAttr:
		return strconv.AppendInt(out, a.num, 10)
	case boolAttr:
		return strconv.AppendBool(out, a.num != 0)
	case durationAttr:
		return append(out, time.Duration(a.num).String()...)
	}
	text := a.text
	if len(text) > longestMessage {
		// It will not fit, quoted or not; no need to look at all of it.
		text = text[:longestMessage]
	}
	if plain(text) {
		return append(out, text...)
	}
	return strconv.AppendQuote(out, text)
}

func appendKey(out []byte, key string) []byte {
	if key == "" {
		return append(out, '_')
	}
	for i := range len(key) {
		if c := key[i]; keyByte(c) {
			out = append(out, c)
		} else {
			out = append(out, '_')
		}
	}
	return out
}

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_.-/", c) >= 0
}

// plain reports whether a value can stand without quotes.
func plain(value string) bool {
	if value == "" || !utf8.ValidString(value) {
		return false
	}
	for _, r := range value {
		if r == ' ' || r == '=' || r == '"' || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// ParseAttrs reads what a mark wrote as the message of a log event. An error
// says at which byte the text stops being that; a log event of another's making
// need not be.
func ParseAttrs(text string) ([]Pair, error) {
	var pairs []Pair
	for at := 0; at < len(text); {
		if len(pairs) > 0 {
			if text[at] != ' ' {
				return nil, fmt.Errorf("attributes: byte %d: want a space between two", at)
			}
			at++
		}
		key := at
		for at < len(text) && keyByte(text[at]) {
			at++
		}
		if at == key || at == len(text) || text[at] != '=' {
			return nil, fmt.Errorf("attributes: byte %d: want a key and =", key)
		}
		p := Pair{Key: text[key:at]}
		at++
		rest := text[at:]
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err == nil {
				p.Value, err = strconv.Unquote(quoted)
			}
			if err != nil {
				return nil, fmt.Errorf("attributes: byte %d: the quoted value is not a Go string", at)
			}
			at += len(quoted)
		} else {
			p.Value, _, _ = strings.Cut(rest, " ")
			if !plain(p.Value) {
				return nil, fmt.Errorf("attributes: byte %d: the value must be quoted", at)
			}
			at += len(p.Value)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}
