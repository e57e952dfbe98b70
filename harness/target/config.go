// Package target builds, starts and stops the server under test, or attaches
// to one that runs already.
//
// A server it starts leads a process group of its own and cannot outlive the
// harness: the kernel kills it when the harness dies, and what is left of its
// group is killed when it ends.
package target

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of Config.
const (
	DefaultStartTimeout = 20 * time.Second
	// A target that is far behind ends late: the goroutine that is told of the signal
	// waits for a P behind all the others. Orchestrators grant as much.
	DefaultStopTimeout = 30 * time.Second
)

// What can go wrong with a target; errors of this package wrap these.
var (
	ErrConfig       = errors.New("the target cannot be used as it is described")
	ErrBuild        = errors.New("the target does not build")
	ErrDied         = errors.New("the target died")
	ErrHangsOnStart = errors.New("the target hangs on start")
	ErrHangsOnStop  = errors.New("the target hangs on stop")
	ErrPortInUse    = errors.New("the target's port is in use")
)

// Config describes a target. Exactly one of Package, Command, PID and URL is set.
//
// Args, Command, the values of Env, and the templates Debug, Metrics and Ready
// may hold these words in braces:
//
//	{address}, {listen}  host:port the target serves on
//	{port}               its port
//	{debug}              host:port of the debug endpoints
//	{debug_port}         its port
//	{variant}            Variant
//
// For a target that is started the harness picks free loopback ports. For one
// that is attached to there is no {debug} and no {debug_port}.
type Config struct {
	// Package is a Go main package, as go build takes it, that follows the
	// command line of lab targets:
	//	-listen HOST:PORT -debug HOST:PORT -variant V [-set KEY=VALUE]...
	Package string
	// Command is a server and its arguments.
	Command []string
	// PID is a process that runs already.
	PID int
	// URL is where a server answers that is reached by its address alone.
	URL string

	// GoRelease, such as "1.24.0", builds a Package in place of the Go that is here;
	// Strip leaves symbols and debug information out of it.
	GoRelease string
	Strip     bool

	// Dir is where Package is built and where the target runs; empty: here.
	Dir string
	// Address is host:port the target serves on. For a PID it may be empty when
	// the process listens on one port only. For a Command that does not take
	// {port} it is the fixed address.
	Address string

	Variant    string            // of a Package: "flawed" or "fixed"
	Knobs      map[string]string // of a Package: -set
	Args       []string          // of a Package: added at the end
	Env        map[string]string // added to the harness's own environment
	GOMAXPROCS int               // 0: as the target would have it

	// TLS is how the server's TLS is trusted; nil: it speaks none, or for a URL
	// with https, as the system trusts. Debug and Metrics are HTTP unless their
	// own scheme says otherwise; Ready is asked as requests are sent.
	TLS *tls.Config
	// HTTP2: requests are sent over HTTP/2, without TLS from the first byte on.
	HTTP2 bool
	// CPUs are those that a target that is started may run on; none: all.
	CPUs []int

	// Debug is where net/http/pprof is served: "{debug}/debug/pprof". Empty: nowhere.
	Debug string
	// Metrics is where runtime/metrics are served as JSON. Empty: nowhere.
	Metrics string
	// Ready is asked until it answers, with any status but 503, by which a server
	// says itself that it is not ready yet. Empty: the target is ready when it
	// accepts connections and, if there is a Debug, answers there.
	Ready string

	StartTimeout time.Duration // 0: DefaultStartTimeout
	StopTimeout  time.Duration // from SIGTERM to SIGKILL; 0: DefaultStopTimeout

	// Output receives what the target prints; nil: nothing. The last lines are
	// kept for error messages in any case.
	Output io.Writer
}

// scheme is that of the server's URL.
func (c Config) scheme() string {
	if c.TLS != nil {
		return "https"
	}
	return "http"
}

// withDefaults checks the configuration and fills it in.
func (c Config) withDefaults() (Config, error) {
	var given []string
	for name, is := range map[string]bool{
		"package": c.Package != "", "command": len(c.Command) > 0, "pid": c.PID != 0, "url": c.URL != "",
	} {
		if is {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	switch {
	case len(given) == 0:
		return c, fmt.Errorf("%w: give one of package, command, pid and url", ErrConfig)
	case len(given) > 1:
		return c, fmt.Errorf("%w: give only one of %s", ErrConfig, strings.Join(given, " and "))
	case strings.HasPrefix(c.Package, "-"):
		return c, fmt.Errorf("%w: package %q begins with a dash; write it as ./%s", ErrConfig, c.Package, c.Package)
	case len(c.Command) > 0 && c.Command[0] == "":
		return c, fmt.Errorf("%w: command: its first word, the executable, is empty", ErrConfig)
	case c.PID < 0:
		return c, fmt.Errorf("%w: pid %d is not that of a process", ErrConfig, c.PID)
	case c.GOMAXPROCS < 0:
		return c, fmt.Errorf("%w: gomaxprocs %d must not be negative", ErrConfig, c.GOMAXPROCS)
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	if c.Output == nil {
		c.Output = io.Discard
	}
	return c, nil
}

// name is what errors call the target.
func (c Config) name() string {
	switch {
	case c.Package != "":
		return c.Package
	case len(c.Command) > 0:
		return c.Command[0]
	case c.PID != 0:
		return "pid " + strconv.Itoa(c.PID)
	}
	return c.URL
}

// words are the values of the words in braces.
type words map[string]string

var inBraces = regexp.MustCompile(`\{[a-z_]+\}`)

// fill replaces the words in braces. A word it does not know is an error that
// names those it does; other braces stay.
func (w words) fill(what, template string) (string, error) {
	var unknown error
	text := inBraces.ReplaceAllStringFunc(template, func(word string) string {
		value, ok := w[word]
		if !ok && unknown == nil {
			unknown = fmt.Errorf("%w: %s %q: %s means nothing here; known are %s",
				ErrConfig, what, template, word, strings.Join(slices.Sorted(maps.Keys(w)), ", "))
		}
		return value
	})
	return text, unknown
}

// url fills in a template and makes a URL of it; http where it names no scheme.
func (w words) url(what, template, scheme string) (string, error) {
	if template == "" {
		return "", nil
	}
	text, err := w.fill(what, template)
	if err != nil {
		return "", err
	}
	if !strings.Contains(text, "://") {
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w: %s %q: %w", ErrConfig, what, template, err)
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("%w: %s %q gives %s, which is no http URL with a host", ErrConfig, what, template, text)
	}
	return text, nil
}

// uses reports whether any of the texts holds the word.
func uses(word string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, word) })
}
