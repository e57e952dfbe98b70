package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"chokepoint/harness/procfs"
)

const (
	// portAttempts is how often a start is tried when others take the ports
	// between their choice and the target's listening on them.
	portAttempts = 3
	// askTimeout bounds one question to a target that may not be ready yet.
	askTimeout = 5 * time.Second
	// askFirst and askMost are the pauses between questions, which double.
	askFirst, askMost = 10 * time.Millisecond, 200 * time.Millisecond
)

// Start starts the executable that Build returned, or attaches to the PID or
// URL, and returns when the target is ready; with an empty path it calls Build. Ports that others take meanwhile
// are replaced. A target that does not get ready is killed, with all that is
// left of its process group, and the error is an ErrDied, ErrHangsOnStart or
// ErrPortInUse with its last lines. The target does not end with ctx; it ends
// with Stop, or when the harness dies.
func Start(ctx context.Context, c Config, executable string) (*Process, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if executable == "" {
		if executable, err = Build(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.PID != 0 || c.URL != "" {
		return attach(ctx, c, executable)
	}
	texts := append(slices.Collect(maps.Values(c.Env)), c.Command...)
	picksPort := c.Package != "" || uses("{port}", texts...) || uses("{address}", texts...) || uses("{listen}", texts...)
	if !picksPort && c.Address == "" {
		return nil, fmt.Errorf("%w: command %s: have it listen on {port} or {address}, or give the address it listens on", ErrConfig, c.name())
	}
	for attempt := 1; ; attempt++ {
		p, err := startOnce(ctx, c, executable, picksPort)
		if err == nil || !errors.Is(err, ErrPortInUse) || !picksPort || attempt == portAttempts {
			return p, err
		}
	}
}

// startOnce picks ports and starts the target on them.
func startOnce(ctx context.Context, c Config, executable string, picksPort bool) (*Process, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	address, debug := loopback(ports[0]), loopback(ports[1])
	if !picksPort {
		address = c.Address
		if err := mustBeFree(ctx, c, address); err != nil {
			return nil, err
		}
	}
	w, err := wordsFor(address)
	if err != nil {
		return nil, err
	}
	w["{debug}"], w["{debug_port}"], w["{variant}"] = debug, strconv.Itoa(ports[1]), c.Variant
	args, env, err := commandLine(c, w)
	if err != nil {
		return nil, err
	}
	ready, addresses, err := resolve(c, w, c.scheme())
	if err != nil {
		return nil, err
	}
	p, err := launch(c, executable, args, env)
	if err != nil {
		return nil, err
	}
	p.Address, p.BaseURL = address, c.scheme()+"://"+address
	p.DebugURL, p.MetricsURL = addresses.debug, addresses.metrics
	if err := p.await(ctx, c, ready); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// commandLine is what the target is started with.
func commandLine(c Config, w words) (args, env []string, err error) {
	fill := func(what, text string) string {
		filled, e := w.fill(what, text)
		err = errors.Join(err, e)
		return filled
	}
	if c.Package != "" {
		args = append(args, "-listen", w["{address}"], "-debug", w["{debug}"])
		if c.Variant != "" {
			args = append(args, "-variant", c.Variant)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Knobs)) {
			args = append(args, "-set", name+"="+c.Knobs[name])
		}
	} else {
		for _, word := range c.Command[1:] {
			args = append(args, fill("command", word))
		}
	}
	for _, word := range c.Args {
		args = append(args, fill("args", word))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		env = append(env, name+"="+fill("env "+name, c.Env[name]))
	}
	if c.GOMAXPROCS > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(c.GOMAXPROCS))
	}
	return args, env, err
}

type addresses struct{ debug, metrics string }

// resolve fills in the templates of addresses. ready is empty when there is
// nothing to ask.
func resolve(c Config, w words, scheme string) (ready string, a addresses, err error) {
	debugScheme := "http"
	if c.URL != "" {
		debugScheme = scheme // it is the same server
	}
	if a.debug, err = w.url("debug", c.Debug, debugScheme); err != nil {
		return "", a, err
	}
	if a.metrics, err = w.url("metrics", c.Metrics, debugScheme); err != nil {
		return "", a, err
	}
	if ready, err = w.url("ready", c.Ready, scheme); err != nil {
		return "", a, err
	}
	if ready == "" && a.debug != "" {
		ready = strings.TrimSuffix(a.debug, "/") + "/cmdline"
	}
	return ready, a, nil
}

// wordsFor gives the words that follow from the address.
func wordsFor(address string) (words, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: want host:port: %w", ErrConfig, address, err)
	}
	return words{"{address}": address, "{listen}": address, "{port}": port}, nil
}

// attach takes a target that runs already.
func attach(ctx context.Context, c Config, executable string) (*Process, error) {
	p := &Process{
		PID:        c.PID,
		Executable: executable,
		Address:    c.Address,
		name:       c.name(),
		began:      time.Now(),
		done:       make(chan struct{}),
		unwatch:    make(chan struct{}),
	}
	scheme := c.scheme()
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("%w: url %q: want http://host:port or https://host:port", ErrConfig, c.URL)
		}
		scheme = u.Scheme
		p.BaseURL, p.Address = strings.TrimSuffix(c.URL, "/"), u.Host
		if u.Port() == "" {
			p.Address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
		}
	} else {
		if _, err := procfs.Of(c.PID).Stat(); procfs.Gone(err) {
			return nil, fmt.Errorf("%w: no process has the pid %d", ErrConfig, c.PID)
		}
		var err error
		if p.Address, err = listeningAt(c); err != nil {
			return nil, err
		}
		p.BaseURL = scheme + "://" + p.Address
	}
	w, err := wordsFor(p.Address)
	if err != nil {
		return nil, err
	}
	ready, addresses, err := resolve(c, w, scheme)
	if err != nil {
		return nil, err
	}
	p.DebugURL, p.MetricsURL = addresses.debug, addresses.metrics
	if c.Ready == "" {
		ready = "" // a target without its debug endpoints is still a target
	}
	if c.PID != 0 {
		if err := p.watch(); err != nil {
			return nil, err
		}
	}
	if err := p.await(ctx, c, ready); err != nil {
		return nil, errors.Join(err, p.Stop(ctx))
	}
	return p, nil
}

// listeningAt is where an attached process listens; found out when not given.
func listeningAt(c Config) (string, error) {
	ports, err := procfs.Of(c.PID).ListenPorts()
	switch {
	case c.Address != "":
		return c.Address, nil // whether it is this process that answers there, await sees
	case errors.Is(err, os.ErrPermission):
		return "", fmt.Errorf("%w: where pid %d listens may not be read: run as root or as the user it belongs to, or give its address: %w", ErrConfig, c.PID, err)
	case err != nil:
		return "", fmt.Errorf("find out where pid %d listens: %w", c.PID, err)
	case len(ports) == 0:
		return "", fmt.Errorf("%w: pid %d listens on no TCP port; give the address to send load to", ErrConfig, c.PID)
	case len(ports) > 1:
		return "", fmt.Errorf("%w: pid %d listens on the ports %v; give the address of the one to send load to", ErrConfig, c.PID, ports)
	}
	return loopback(ports[0]), nil
}

// await returns when the target is ready. On an error it still runs, if it does.
func (p *Process) await(ctx context.Context, c Config, ready string) error {
	waiting, cancel := context.WithTimeout(ctx, c.StartTimeout)
	defer cancel()
	client := &http.Client{
		Timeout:   askTimeout,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: c.TLS, Protocols: c.protocols()},
		// A redirect is an answer, and the target's: what it points to may be anybody's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var notYet error
	for pause := askFirst; ; pause = min(2*pause, askMost) {
		err := p.ask(waiting, client, ready)
		if err == nil {
			return nil
		}
		if notYet == nil || waiting.Err() == nil {
			notYet = err // rather than that the time is over
		}
		select {
		case <-p.done:
			return p.diedOnStart()
		case <-time.After(pause):
			continue
		case <-waiting.Done():
		}
		if ctx.Err() != nil {
			return fmt.Errorf("start %s: %w", p.name, context.Cause(ctx))
		}
		if p.unwatch != nil {
			return fmt.Errorf("%w: %s is not ready after %s: check its address: %w", ErrHangsOnStart, p.name, c.StartTimeout, notYet)
		}
		return fmt.Errorf("%w: %s (pid %d) is not ready after %s (%w): mend its start, or allow it more time; %s",
			ErrHangsOnStart, p.name, p.PID, c.StartTimeout, notYet, quote(p.output.all()))
	}
}

// protocols are those in which the target is asked whether it is ready: that of its requests, as it
// need not speak another. Debug endpoints are asked as Go's own server expects it.
func (c Config) protocols() *http.Protocols {
	http2 := c.HTTP2 && c.Ready != ""
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(http2)
	return p
}

func (p *Process) diedOnStart() error {
	err := p.Err()
	if p.output != nil && slices.ContainsFunc(p.output.all(), saysPortInUse) {
		return fmt.Errorf("%w: another process has %s, or the port of its debug endpoints: %w", ErrPortInUse, p.Address, err)
	}
	return fmt.Errorf("start %s, and mend what it says or how it is called: %w", p.name, err)
}

// saysPortInUse knows the words of the C library, which Go and most others use.
func saysPortInUse(line string) bool {
	return strings.Contains(strings.ToLower(line), "address already in use")
}

// ask returns nil when the target is ready, or what is missing yet.
func (p *Process) ask(ctx context.Context, client *http.Client, ready string) error {
	conn, err := (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return err
	}
	conn.Close()
	if ready != "" {
		if err := answers(ctx, client, ready); err != nil {
			return err
		}
	}
	return p.findServer()
}

func answers(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Whether the body can be read is no matter: it has answered.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

// findServer makes sure that it is the target that listens at its address, and
// no stranger who had the port first, and finds which process of a group it
// is. Where the kernel does not let it look, it takes the target's word.
func (p *Process) findServer() error {
	if p.PID == 0 {
		return nil
	}
	_, text, err := net.SplitHostPort(p.Address)
	if err != nil {
		return err
	}
	port, err := net.LookupPort("tcp", text)
	if err != nil {
		return err
	}
	pids := []int{p.PID}
	if p.unwatch != nil && !sameNetwork(p.PID) {
		return nil // its ports may be mapped
	}
	if p.unwatch == nil {
		members, err := p.members()
		if err != nil {
			return err
		}
		pids = append(pids, slices.DeleteFunc(members, func(pid int) bool { return pid == p.PID })...)
	}
	for _, pid := range pids {
		ports, err := procfs.Of(pid).ListenPorts()
		switch {
		case procfs.Gone(err):
			continue
		case err != nil:
			return nil
		case slices.Contains(ports, port):
			return p.isServer(pid)
		}
	}
	return fmt.Errorf("another process listens at %s", p.Address)
}

// sameNetwork reports whether a process lives in the harness's network namespace.
func sameNetwork(pid int) bool {
	mine, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return true
	}
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err != nil || its == mine
}

// isServer notes the process that serves, and what it runs: a shell that was started
// may have become the server, under the same pid.
func (p *Process) isServer(pid int) error {
	executable, err := executableOf(pid)
	if err != nil {
		if pid == p.PID {
			return nil // it is what was started, as far as can be seen
		}
		return err
	}
	p.PID, p.Executable = pid, executable
	return nil
}

// mustBeFree refuses a fixed address where somebody answers already: the load
// would go to them.
func mustBeFree(ctx context.Context, c Config, address string) error {
	conn, err := (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	conn.Close()
	return fmt.Errorf("%w: something listens at %s already: end it, or have %s listen on {port}", ErrPortInUse, address, c.name())
}

// freePorts finds n different loopback ports that nobody has at the moment.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", loopback(0))
		if err != nil {
			return nil, fmt.Errorf("find a free loopback port: %w", err)
		}
		defer l.Close() // held until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
