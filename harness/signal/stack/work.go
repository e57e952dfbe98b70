package stack

import (
	"slices"
	"strings"

	"chokepoint/harness/gofunc"
)

// Work is what a CPU sample did for the program, and which part of its code, or
// of a library's, did it.
type Work struct {
	Kind WorkKind
	// Unit is the innermost frame outside the standard library: the line that
	// computes, or that calls what computes. Zero for NoWork.
	Unit Frame
	// Own is the line of the program itself: Unit, or below it where Unit is a library's.
	// Where no frame is the program's it is the line of the library that handles the request
	// or started the goroutine.
	Own Frame
	// Caller is the program's line that called the function of Own; zero for none.
	Caller Frame
	// Within are the program's functions in which it computes or sets up, or calls what does,
	// innermost first and each once; of a library alone the innermost. Empty for the other kinds.
	Within []Computer
	// Calls is what the program has somebody else's package compute; zero where its own
	// instructions do it.
	Calls Call
}

// Computer is a function at work.
type Computer struct {
	Unit Frame // its innermost line on the stack
	Own  Frame // the program's line: Unit, or below it where Unit is a library's
	// Itself: the instructions are its own, or of a call of itself by way of others; or it
	// is the one that calls what sets up.
	Itself bool
}

// Call is a call out of the program.
type Call struct {
	Own     Frame  // the program's line that calls
	Package string // the import path of what it calls
}

// WorkKind tells work apart by whether the program could do less of it.
type WorkKind int

// The kinds.
const (
	// NoWork: no code outside the standard library is on the stack.
	NoWork WorkKind = iota
	// Computing: the line's own instructions, or what the runtime does for single
	// ones of them: copying, comparing, looking up in maps.
	Computing
	// Calling: a function of the standard library that computes.
	Calling
	// SettingUp: making something of the standard library that is made to be used
	// many times, such as a compiled pattern or a parsed key.
	SettingUp
	// Answering: reading, writing and encoding, which answering takes in any case. Functions of
	// those packages that only compute a value are Calling.
	Answering
	// Managing: memory, goroutines, locks, channels and timers.
	Managing
)

// WorkOf classifies a stack sampled on a CPU.
func (p Program) WorkOf(frames []Frame) Work {
	at := slices.IndexFunc(frames, func(f Frame) bool { return !p.Foreign(f) })
	if at < 0 {
		return Work{}
	}
	w := Work{Unit: frames[at]}
	own := p.accountable(frames)
	w.Own, w.Caller = frames[own], p.Caller(frames)
	w.Kind = workKind(frames[:at])
	switch w.Kind {
	case Computing, Calling:
		w.Within = p.within(frames[at:], w.Kind == Computing)
		w.Calls = p.calls(frames, own)
	case SettingUp:
		w.Within = p.within(frames[at:], false)
		w.Within[0].Itself = true
	}
	return w
}

// within lists Work.Within of the frames from the innermost on that is not Go's own.
func (p Program) within(frames []Frame, computing bool) []Computer {
	if own := p.accountable(frames); !p.Mine(frames[own]) {
		return []Computer{{Unit: frames[0], Own: frames[own], Itself: computing}}
	}
	var list []Computer
	for i, f := range frames {
		if !p.Mine(f) {
			continue
		}
		name := gofunc.Base(f.Function)
		if n := slices.IndexFunc(list, func(c Computer) bool { return gofunc.Base(c.Unit.Function) == name }); n >= 0 {
			// A function that comes again calls itself. One that is written in it, such as the
			// wrapper that a goroutine starts in, does not make it so.
			if list[n].Unit.Function == f.Function {
				list[n].Itself = computing
			}
			continue
		}
		list = append(list, Computer{Unit: f, Own: f, Itself: computing && i == 0})
	}
	return list
}

// calls is the call out of the program at the frame of index own. Where that is a
// function literal that another package calls back (a comparison in a sort), it is the
// call by the function that the literal is written in.
func (p Program) calls(frames []Frame, own int) Call {
	at := own
	if name := gofunc.Base(frames[own].Function); name != frames[own].Function && own+1 < len(frames) && !p.Mine(frames[own+1]) {
		next := slices.IndexFunc(frames[own+1:], p.Mine)
		if next >= 0 && gofunc.Base(frames[own+1+next].Function) == name {
			at = own + 1 + next
		}
	}
	if at == 0 || !p.Mine(frames[at]) || p.Mine(frames[at-1]) {
		return Call{}
	}
	pkg := gofunc.Package(frames[at-1].Function)
	if pkg == "runtime" || strings.HasPrefix(pkg, "internal/") {
		return Call{}
	}
	return Call{Own: frames[at], Package: pkg}
}

// workKind looks at the calls above a line, innermost first. What sets something up
// counts with the memory that it takes; otherwise what a call does for the answer
// goes before how it computes it.
func workKind(above []Frame) WorkKind {
	if slices.ContainsFunc(above, func(f Frame) bool { return setsUp(f.Function) }) {
		return SettingUp
	}
	if answers(above) {
		return Answering
	}
	kind := Computing
	for _, f := range above {
		pkg := gofunc.Package(f.Function)
		switch {
		case collecting(f.Function), manages(f.Function), pkg == "sync", pkg == "internal/sync":
			kind = Managing
		case kind == Computing && pkg != "" && pkg != "runtime" && !strings.HasPrefix(pkg, "internal/"):
			kind = Calling
		}
	}
	return kind
}

// setsUp are the functions of the standard library whose documentation, or whose
// use in it, says that what they make is kept: compiled patterns, parsed templates
// and keys, pools of certificates, new keys, time zones, routes.
func setsUp(name string) bool {
	switch name {
	case "regexp.compile", "regexp.Compile", "regexp.MustCompile", "regexp.CompilePOSIX", "regexp.MustCompilePOSIX",
		"text/template.(*Template).Parse", "html/template.(*Template).Parse", "text/template.Must",
		"encoding/pem.Decode",
		"crypto/tls.X509KeyPair", "crypto/tls.LoadX509KeyPair",
		"crypto/x509.SystemCertPool", "crypto/x509.(*CertPool).AppendCertsFromPEM",
		"crypto/rsa.GenerateKey", "crypto/rsa.GenerateMultiPrimeKey", "crypto/ecdsa.GenerateKey", "crypto/ed25519.GenerateKey",
		"time.LoadLocation", "time.LoadLocationFromTZData",
		"net/http.(*ServeMux).Handle", "net/http.(*ServeMux).HandleFunc",
		"strings.(*Replacer).buildOnce", "strings.(*Replacer).build":
		return true
	}
	for _, prefix := range []string{
		"regexp/syntax.", "text/template/parse.", "text/template.parse", "html/template.parse",
		"crypto/x509.Parse", "crypto/x509.parse",
		// A template of HTML is worked over for its context when it is first executed,
		// once for each that is parsed.
		"html/template.(*Template).escape", "html/template.(*Template).lookupAndEscape", "html/template.escapeTemplate", "html/template.(*escaper).",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// answers reports whether the calls above a line, innermost first, read, write or encode.
// The outermost of what serves decides: a name that is made canonical while a header is
// read goes with the reading, and one that the program wants canonical does not.
func answers(above []Frame) bool {
	if len(above) > 0 && syscallLeaf(above[0].Function) || slices.ContainsFunc(above, Frame.Kernel) {
		return true
	}
	for _, f := range slices.Backward(above) {
		if serves(gofunc.Package(f.Function)) {
			return !computes(f.Function)
		}
	}
	return false
}

// computes reports whether a function of a package that serves does none of that itself:
// by its documentation it makes a value of its arguments and touches nothing else, as those of
// strings and net/netip do. Answering does not take such calls in any case: whoever makes
// them for a list that a client may make as long as it likes, or goes through a list
// for each request, could make fewer.
func computes(name string) bool {
	switch name {
	case "net/http.CanonicalHeaderKey", "net/http.DetectContentType", "net/http.ParseTime", "net/http.ParseHTTPVersion", "net/http.StatusText",
		"net/textproto.CanonicalMIMEHeaderKey", "net/textproto.TrimString", "net/textproto.TrimBytes",
		"net.ParseIP", "net.ParseCIDR", "net.ParseMAC", "net.IPv4", "net.IPv4Mask", "net.CIDRMask", "net.JoinHostPort", "net.SplitHostPort",
		"os.Expand", "os.ExpandEnv":
		return true
	}
	for _, prefix := range []string{"net.IP.", "net.(*IP).", "net.IPMask.", "net.(*IPNet).", "net.HardwareAddr."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// serves reports whether a package is for reading, writing and encoding.
func serves(pkg string) bool {
	switch pkg {
	case "net", "net/http", "net/textproto", "crypto/tls", "bufio", "io", "os", "syscall", "internal/poll",
		"encoding/json", "encoding/json/v2", "encoding/json/jsontext", "encoding/xml", "encoding/gob", "encoding/csv",
		"text/template", "html/template", "log", "log/slog", "database/sql":
		return true
	}
	return strings.HasPrefix(pkg, "net/http/") || strings.HasPrefix(pkg, "compress/") || strings.HasPrefix(pkg, "internal/runtime/syscall")
}

// manages reports whether a function is the runtime's own housekeeping, rather
// than what it does for an instruction of the program.
func manages(name string) bool {
	rest, ok := strings.CutPrefix(name, "runtime.")
	if !ok {
		return false
	}
	for _, prefix := range []string{
		"mallocgc", "newobject", "makeslice", "growslice", "makemap", "gc", "bgsweep", "(*mheap)", "(*mcache)", "(*mcentral)", "(*mspan)",
		"chan", "select", "lock", "unlock", "sem", "gopark", "goready", "ready", "newproc", "mcall", "schedule", "findRunnable",
		"park_m", "futex", "netpoll", "(*timer)", "(*timers)", "goexit", "notewakeup", "notesleep", "wakep", "startm", "stopm",
	} {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	return false
}
