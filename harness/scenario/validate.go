package scenario

import (
	"fmt"
	"go/version"
	"maps"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cause"
	"chokepoint/harness/strictyaml"
)

// none switches off what has a default.
const none = "none"

// Bounds that keep a slip of the pen from becoming an hour's run or a full
// disk; nothing that was measured stands behind them.
const (
	maxWindow       = Duration(10 * time.Minute)
	minWindow       = Duration(time.Second)           // shorter windows hold too few samples at 100 Hz
	minSlow         = Duration(10 * time.Microsecond) // below it most calls are slow
	maxSlow         = Duration(time.Minute)
	maxStartTimeout = Duration(10 * time.Minute)
	minTraceBytes   = Size(1 << 20) // less is a fraction of a second at 10,000 in flight
	maxTraceBytes   = Size(1 << 30)
)

var (
	namePattern      = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$`)
	startPlaceholder = regexp.MustCompile(`\{([a-z_]+)\}`)
	knobPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	schemePattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
)

// document is where the scenario stands.
type document interface {
	Errorf(field, format string, args ...any) *strictyaml.Error
	// Has reports whether it holds the field, be it with a value that is Go's zero.
	Has(field string) bool
}

// checker collects the problems of one scenario.
type checker struct {
	document
	problems []*strictyaml.Error
}

func (c *checker) add(field, format string, args ...any) *strictyaml.Error {
	e := c.Errorf(field, format, args...)
	c.problems = append(c.problems, e)
	return e
}

// oneOf reports a value that is not known, with the known ones.
func (c *checker) oneOf(field, what, value string, known []string) bool {
	if slices.Contains(known, value) {
		return true
	}
	e := c.add(field, "unknown %s %q", what, value)
	if e.Hint = strictyaml.Nearest(value, known); e.Hint == "" {
		e.Message += "; known: " + strings.Join(known, ", ")
	}
	return false
}

// subset reports members of list that are not known or stand there twice.
func (c *checker) subset(field, what string, list, known []string) {
	for i, value := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if c.oneOf(at, what, value, known) && slices.Contains(list[:i], value) {
			c.add(at, "%s is listed twice", value)
		}
	}
}

// placeholders reports what looks like one in text and that nothing will be put
// in place of.
func (c *checker) placeholders(pattern *regexp.Regexp, field, text string, known ...string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		if slices.Contains(known, m[1]) {
			continue
		}
		e := c.add(field, "unknown placeholder %s", m[0])
		if near := strictyaml.Nearest(m[1], known); near != "" {
			e.Hint = "{" + near + "}"
		} else {
			e.Message += "; known here: {" + strings.Join(known, "}, {") + "}"
		}
	}
}

func (c *checker) between(field string, value, low, high Duration) {
	if value != 0 && (value < low || value > high) {
		c.add(field, "is %s; it must be between %s and %s", value, low, high)
	}
}

func (s *Scenario) validate(d document) error {
	c := &checker{document: d}
	switch {
	case s.Name == "":
		c.add("scenario", "is missing; name the scenario, such as lock-contention/held-over-sleep")
	case !namePattern.MatchString(s.Name):
		c.add("scenario", "%q is not a name; use lower-case words joined by \"-\", in parts joined by \"/\"", s.Name)
	}
	c.target(s.Target)
	c.load(s.Load, or(s.Capture.Window, DefaultWindow), s.Target.UsesTLS())
	c.capture(s.Capture)
	c.expect(s.Expect, s.Target)
	return strictyaml.Join(c.problems)
}

func (c *checker) target(t Target) {
	kinds := c.kinds(t)
	started := t.Package != "" || len(t.Command) > 0
	switch {
	case len(kinds) == 0:
		c.add("target", "names no server; give one of package, command, pid, url")
		return
	case len(kinds) > 1:
		c.add("target", "names more than one server (%s); give one of them", strings.Join(kinds, ", "))
		return
	case t.Package != "":
		c.packagePath(t.Package)
	case len(t.Command) > 0:
		c.command(t)
	case t.PID < 0:
		c.add("target.pid", "is %d; a process id is above 0", t.PID)
	case t.URL != "":
		c.url("target.url", t.URL)
	}

	if t.Variant != "" {
		c.oneOf("target.variant", "variant", string(t.Variant), []string{string(Flawed), string(Fixed)})
	}
	only := func(given bool, field, kinds string, allowed bool) {
		if given && !allowed {
			c.add("target."+field, "has no meaning for this target; only %s has it", kinds)
		}
	}
	only(t.Variant != "", "variant", "a package target or a command with {variant}", t.HasTwin())
	only(len(t.Knobs) > 0, "knobs", "a package target", t.Package != "")
	only(len(t.Args) > 0, "args", "a package target", t.Package != "")
	only(len(t.Env) > 0, "env", "a target that is started (package, command)", started)
	only(t.CPUs != "", "cpus", "a target that is started (package, command)", started)
	only(t.GOMAXPROCS != 0, "gomaxprocs", "a target that is started (package, command)", started)
	only(t.StartTimeout != 0, "start_timeout", "a target that is started (package, command)", started)
	only(t.Build != nil, "build", "a package target", t.Package != "")
	if b := t.Build; b != nil && b.Go != "" && (!goRelease.MatchString(b.Go) || version.Compare("go"+b.Go, oldestGo) < 0) {
		c.add("target.build.go", "%q is not a Go release that targets are built with: write 1.24.0 or later, with all three numbers", b.Go)
	}
	only(t.Address != "", "address", "a target of pid or command", t.PID != 0 || len(t.Command) > 0)
	for i, arg := range t.Args {
		c.placeholders(startPlaceholder, fmt.Sprintf("target.args[%d]", i), arg, startWords()...)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Knobs)) {
		if !knobPattern.MatchString(name) {
			c.add("target.knobs", "%q is not the name of a knob", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(t.Env[name], 0) {
			c.add("target.env", "%q cannot be set in an environment", name)
		}
		c.placeholders(startPlaceholder, "target.env."+name, t.Env[name], startWords()...)
	}
	if t.GOMAXPROCS < 0 {
		c.add("target.gomaxprocs", "is %d; it must be 1 or more", t.GOMAXPROCS)
	}
	c.address(t)
	c.tls(t)
	c.debugURL("target.debug", t.Debug, t)
	c.debugURL("target.metrics", t.Metrics, t)
	if t.Ready != "" {
		c.path("target.ready", t.Ready)
	}
	c.between("target.start_timeout", t.StartTimeout, Duration(time.Millisecond), maxStartTimeout)
}

func (c *checker) kinds(t Target) []string {
	var kinds []string
	for name, given := range map[string]bool{
		"package": t.Package != "", "command": len(t.Command) > 0, "pid": t.PID != 0, "url": t.URL != "",
	} {
		if given {
			kinds = append(kinds, name)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func (c *checker) packagePath(p string) {
	local, isRelative := strings.CutPrefix(p, "./")
	switch {
	case !isRelative && !path.IsAbs(p) && !strings.HasPrefix(p, "../") && !strings.Contains(p, "\\"):
		e := c.add("target.package", "%q must begin with ./", p)
		e.Hint = "./" + p
	case !isRelative || strings.Contains(p, "\\") || strings.HasPrefix(path.Clean(local), ".."):
		c.add("target.package", "%q must be a directory inside the module, such as ./targets/lockcontention", p)
	}
}

// startWords are the placeholders of what a target is started with.
func startWords() []string {
	return []string{"listen", "address", "port", "debug", "debug_port", "variant"}
}

// uses reports whether the command, or the environment it gets, has one of the
// placeholders.
func (t Target) uses(names ...string) bool {
	texts := slices.AppendSeq(slices.Clone(t.Command), maps.Values(t.Env))
	return slices.ContainsFunc(names, func(name string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, "{"+name+"}") })
	})
}

// goRelease is how the go command names a release, without its "go".
var goRelease = regexp.MustCompile(`^1\.[0-9]+\.[0-9]+$`)

// oldestGo is the oldest release whose traces and stacks can be read.
const oldestGo = "go1.24.0"

func (c *checker) command(t Target) {
	if t.Command[0] == "" {
		c.add("target.command[0]", "is empty; name the program to start")
	}
	for i, arg := range t.Command {
		field := fmt.Sprintf("target.command[%d]", i)
		words := startWords()
		if i == 0 { // the program is looked up before any port is chosen
			words = []string{"variant"}
		}
		c.placeholders(startPlaceholder, field, arg, words...)
		if strings.ContainsRune(arg, 0) {
			c.add(field, "holds a NUL byte, which no argument can")
		}
	}
}

func (c *checker) address(t Target) {
	if t.Address != "" {
		host, port, err := net.SplitHostPort(t.Address)
		n, portErr := strconv.Atoi(port)
		if err != nil || host == "" || portErr != nil || n < 1 || n > 65535 {
			c.add("target.address", "%q is not host:port, such as 127.0.0.1:8080", t.Address)
		}
	}
	listen := t.uses("listen", "address", "port")
	switch {
	case len(t.Command) > 0 && t.Address == "" && !listen:
		c.add("target.address", "is missing; put {port} or {listen} into the command, or say where it listens, such as 127.0.0.1:8080")
	case len(t.Command) > 0 && t.Address != "" && listen:
		c.add("target.address", "is given, and the command has {port} or {listen} too; remove one of them")
	}
}

func (c *checker) debugURL(field, text string, t Target) {
	if text == "" || text == none {
		return
	}
	before := len(c.problems)
	c.placeholders(startPlaceholder, field, text, "address", "listen", "port", "debug", "debug_port")
	if len(c.problems) > before {
		return // what else is wrong with the URL follows from that
	}
	if strings.Contains(text, "{debug") && t.Package == "" && (len(t.Command) == 0 || !t.uses("debug", "debug_port")) {
		c.add(field, "uses the debug port, and the target has no debug port: put {debug} or {debug_port} into the command, or write the address")
	}
	c.url(field, withScheme(strings.NewReplacer("{address}", "127.0.0.1:1", "{listen}", "127.0.0.1:1", "{port}", "1", "{debug}", "127.0.0.1:1", "{debug_port}", "1").Replace(text)))
}

// withScheme makes http the scheme of a URL that has none.
func withScheme(text string) string {
	if text == "" || schemePattern.MatchString(text) {
		return text
	}
	return "http://" + text
}

func (c *checker) url(field, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.add(field, "%q is not the URL of a server, such as http://127.0.0.1:8080", text)
	}
}

func (c *checker) path(field, p string) {
	if !strings.HasPrefix(p, "/") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		c.add(field, "%q is not a path; it begins with \"/\" and has no spaces", p)
		return
	}
	if _, err := url.ParseRequestURI(p); err != nil {
		c.add(field, "%q is not a path: a %% must be followed by two hexadecimal digits", p)
	}
}

func (c *checker) capture(p Capture) {
	c.between("capture.window", p.Window, minWindow, maxWindow)
	c.subset("capture.ebpf", "probe", p.EBPF, EBPFProbes())
	c.between("capture.slow", p.Slow, minSlow, maxSlow)
	if p.Budget != 0 && p.EBPF != nil && len(p.EBPF) == 0 {
		c.add("capture.budget", "is what eBPF probes may cost, and capture.ebpf switches all of them off; remove one of them")
	}
	c.custom(p)
	c.subset("capture.pprof", "probe", p.Pprof, PprofProbes())
	if t := p.Trace; t != nil && !t.off {
		if window := or(p.Window, DefaultWindow); t.For > window {
			c.add("capture.trace.for", "is %s; the trace lies inside the capture window of %s", t.For, window)
		}
		if t.AtMost != 0 && (t.AtMost < minTraceBytes || t.AtMost > maxTraceBytes) {
			c.add("capture.trace.at_most", "is %s; it must be between %s and %s", t.AtMost, minTraceBytes, maxTraceBytes)
		}
	}
}

func (c *checker) expect(e Expect, t Target) {
	isPackage := t.Package != ""
	if isPackage && len(e.Findings) == 0 && len(e.NearMissOf) == 0 {
		c.add("expect.findings", "is missing; say which cause this target shows, and where, or what it is a near_miss_of")
	}
	c.nearMiss(e, t)
	for i, f := range e.Findings {
		field := fmt.Sprintf("expect.findings[%d]", i)
		if f.Cause == "" {
			c.add(field+".cause", "is missing; name a cause, such as lock-contention")
		} else {
			c.oneOf(field+".cause", "cause", f.Cause, cause.IDs())
		}
		if isPackage && f.At == "" {
			c.add(field+".at", "is missing; name the function that holds the marker comment, such as (*store).get")
		}
		c.subset(field+".dimensions", "dimension", f.Dimensions, []string{bundle.DimEBPF, bundle.DimPprof, bundle.DimTrace})
		if slices.ContainsFunc(e.Findings[:i], func(g ExpectedFinding) bool { return g.Cause == f.Cause && g.At == f.At }) {
			c.add(field, "expects the same finding as an entry above it")
		}
	}
}

func (c *checker) nearMiss(e Expect, t Target) {
	if len(e.NearMissOf) == 0 {
		return
	}
	c.subset("expect.near_miss_of", "cause", e.NearMissOf, cause.IDs())
	if len(e.Findings) > 0 {
		c.add("expect.near_miss_of", "names what this target only looks like, and expect.findings what it shows; remove one of them")
	}
	if t.HasTwin() && t.Variant != Fixed {
		c.add("target.variant", "is %s; a near miss is healthy: write fixed", or(t.Variant, Flawed))
	}
}
