package stack

import (
	"strings"

	"chokepoint/harness/gofunc"
)

// accountable is the frame that a person would change for what a stack computes. With the
// main module on the stack it is Own. Without it, where a goroutine was started inside a
// library, Own is a library's innermost frame, which may be a cipher's inner loop: nobody
// would change that. Whoever chose to call it is the library that handles the request, or
// where none does the one that started the goroutine; it is that one's innermost frame.
//
// It is -1 for a stack of Go's own code alone.
func (p Program) accountable(frames []Frame) int {
	own := p.ownIndex(frames)
	if own < 0 || p.Mine(frames[own]) {
		return own
	}
	outermost, handler := -1, -1
	for i := len(frames) - 1; i >= own; i-- {
		f := frames[i]
		if p.Foreign(f) {
			continue
		}
		if outermost < 0 {
			outermost = i
		}
		// Of handlers that pass a request on to each other the last one handles it.
		called := i+1 < len(frames) && (passesOn(frames[i+1].Function) || requestHandler(frames[i+1].Function))
		if (called || methodOf(f.Function) == "ServeHTTP") && !passesOn(f.Function) {
			handler = i
		}
	}
	at := outermost
	if handler >= 0 {
		at = handler
	}
	code := origin(frames[at])
	for i := own; i < at; i++ {
		if !p.Foreign(frames[i]) && origin(frames[i]) == code {
			return i
		}
	}
	return at
}

// origin says whose code a library's frame is, as far as import paths tell: by the
// repository on hosts that keep one below each owner, else by host and first element.
// Modules are told apart by it except for several in one repository, which have
// the same people.
func origin(f Frame) string {
	pkg := gofunc.Package(f.Function)
	elements := strings.Split(pkg, "/")
	n := 2
	switch host := elements[0]; {
	case !strings.Contains(host, "."):
		n = 1
	case host == "github.com", host == "gitlab.com", host == "bitbucket.org", host == "codeberg.org", host == "golang.org":
		n = 3
	}
	return strings.Join(elements[:min(n, len(elements))], "/")
}
