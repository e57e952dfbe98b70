package request

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"unicode/utf8"
)

// maxHTTPLine is the longest line of vegeta's http format in bytes, its end
// included: bufio.MaxScanTokenSize. Vegeta drops the rest of the file, without a
// word, after a longer one.
const maxHTTPLine = 64<<10 - 1

// targetLine is what vegeta takes for the first line of a target.
var targetLine = regexp.MustCompile(`^[A-Z]+\s`)

func looksLikeTarget(line string) bool { return targetLine.MatchString(line) }

// lineReader hands a file to vegeta's parsers line by line, which read no more
// than they need: so the line they stand on is known, which they do not tell.
// Each line ends in a newline; vegeta's JSON parser drops a last one that does
// not.
type lineReader struct {
	rest    []byte
	maxLine int                          // in bytes; 0: no bound
	change  func([]byte) ([]byte, error) // makes another line of one, without its end

	ready      []byte // of the present line
	count      int    // lines handed out, at least in part
	first      int    // the first line of the present target; 0: not reached
	lastTarget bool   // the last line handed out looks like a target's first
	err        error
}

// mark says that the next target is to be read.
func (r *lineReader) mark() {
	peeked := r.first > 0 && r.count == r.first+1 && r.lastTarget
	r.first = 0
	if peeked { // vegeta looks one line ahead
		r.first = r.count
	}
}

func (r *lineReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(r.ready) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		if r.err = r.advance(); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

func (r *lineReader) advance() error {
	line, rest, _ := bytes.Cut(r.rest, []byte("\n"))
	r.rest = rest
	r.count++
	if !utf8.Valid(line) {
		return errors.New("is not UTF-8; save the file as UTF-8, and bodies that are not text as files of their own")
	}
	line = bytes.TrimSpace(line)
	if len(line) > 0 && line[0] != '#' && r.first == 0 {
		r.first = r.count
	}
	r.lastTarget = targetLine.Match(line)
	if r.change != nil {
		var err error
		if line, err = r.change(line); err != nil {
			return err
		}
	}
	if r.maxLine > 0 && len(line) >= r.maxLine {
		return fmt.Errorf("the line has %d bytes; vegeta's http format takes less than %d: use the JSON format", len(line), r.maxLine)
	}
	r.ready = append(line[:len(line):len(line)], '\n')
	return nil
}

// bodyFiles finds the files of bodies.
type bodyFiles struct {
	beside string // the target file
	left   int64  // bytes there is room for
}

// locate makes the path of a body, in a line that names one, such that it can
// be opened from the working directory.
func (b *bodyFiles) locate(line []byte) ([]byte, error) {
	if len(line) == 0 || line[0] != '@' {
		return line, nil
	}
	path := string(line[1:])
	info, err := os.Stat(path)
	if err != nil && !filepath.IsAbs(path) && path != "" {
		near := filepath.Join(filepath.Dir(b.beside), path)
		if found, nearErr := os.Stat(near); nearErr == nil {
			path, info, err = near, found, nil
		} else {
			err = fmt.Errorf("neither in the working directory nor beside the target file: %w", err)
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("body %s: %w", line, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("body %s: is no regular file", line)
	}
	if b.left -= info.Size(); b.left < 0 {
		return nil, fmt.Errorf("body %s: target file and bodies have more than %d MiB together; use fewer or smaller bodies", line, maxFileBytes>>20)
	}
	return []byte("@" + path), nil
}
