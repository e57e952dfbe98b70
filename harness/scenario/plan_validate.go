package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"chokepoint/harness/strictyaml"
)

// Bounds of a load plan, like those of the rest of a scenario.
const (
	maxInFlight    = 1_000_000
	maxRateHz      = 1_000_000
	maxWeight      = 1000
	maxWeights     = 10_000
	maxStages      = 100
	maxPlan        = Duration(time.Hour) // all stages together
	maxWorkers     = 64
	maxFrom        = 256
	maxClients     = 100
	maxProcs       = 1024
	maxGOGC        = 10_000
	minMemory      = Size(16 << 20) // the runtime and a thousand connections
	maxMemory      = Size(1 << 40)
	shareTolerance = 1e-9 // of a sum of decimal fractions, in percent
)

var (
	requestPlaceholder = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_-]*)(?:\.([A-Za-z0-9_.-]+))?\}`) // one word in braces
	headerPattern      = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	valuesPattern      = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// requestWords are the placeholders that every request has.
func requestWords() []string { return []string{"seq", "token"} }

// number reports a value that is out of bounds; 0 is only when it is written.
func (c *checker) number(field string, value, low, high int) {
	if (value != 0 || c.Has(field)) && (value < low || value > high) {
		c.add(field, "is %d; it must be between %d and %d", value, low, high)
	}
}

// choice reports a word that is not one of known.
func (c *checker) choice(field, what, value string, known ...string) {
	if value != "" || c.Has(field) {
		c.oneOf(field, what, value, known)
	}
}

func (c *checker) load(l LoadPlan, window Duration, tls bool) {
	before := len(c.problems)
	c.levels(l)
	c.between("load.ramp", l.Ramp, 0, maxWindow)
	c.between("load.hold", l.Hold, 0, maxWindow)
	c.number("load.at_most", l.AtMost, 1, maxInFlight)
	c.number("load.connections", l.Connections, 1, maxInFlight)
	c.number("load.workers", l.Workers, 1, maxWorkers)
	if len(c.problems) == before { // what follows from wrong levels is not told
		c.bounds(l.resolve(window, tls))
	}
	c.from(l.From)
	c.between("load.timeout", l.Timeout, Duration(time.Millisecond), maxWindow)
	c.choice("load.protocol", "protocol", l.Protocol, HTTP1, HTTP2)
	c.choice("load.engine", "engine", l.Engine, EngineLean, EngineNetHTTP)
	c.choice("load.results", "choice of results", l.Results, ResultsWhole, ResultsSampled, ResultsNone)
	if l.Engine == EngineLean {
		switch {
		case l.Protocol == HTTP2:
			c.add("load.engine", "is lean, which speaks HTTP/1.1 alone; with http/2 it is net/http")
		case tls:
			c.add("load.engine", "is lean, which does not speak TLS, and the target does; with TLS it is net/http")
		}
	}
	c.requests(l)
	c.clients(l)
	c.process(l.Process)
}

// levels checks in_flight and rate, at the top or in stages.
func (c *checker) levels(l LoadPlan) {
	c.number("load.in_flight", l.InFlight, 1, maxInFlight)
	c.rate("load.rate", l.Rate)
	staged := len(l.Stages) > 0
	switch {
	case c.Has("load.stages") && !staged:
		c.add("load.stages", "is empty; list the levels, such as {in_flight: 100, ramp: 2s, hold: 5s}, or remove it")
	case !staged && l.InFlight == 0 && l.Rate == 0 && !c.Has("load.in_flight"):
		c.add("load.in_flight", "is missing; say how many requests to hold in flight, such as 10000, or give a rate for an open loop, or stages")
	}
	if staged {
		c.stages(l)
	}
	if !l.Open() && l.AtMost != 0 {
		c.add("load.at_most", "has no meaning in a closed loop, where in_flight is the most; only an open loop (rate) has it")
	}
}

func (c *checker) rate(field string, r Rate) {
	if r.Hz() > maxRateHz {
		c.add(field, "is %s; it must be at most %s", r, Rate(maxRateHz))
	}
}

func (c *checker) stages(l LoadPlan) {
	for _, top := range []struct {
		name  string
		given bool
		where string
	}{
		{"ramp", l.Ramp != 0, "each stage has its own"},
		{"hold", l.Hold != 0, "each stage has its own"},
		{"rate", l.Rate != 0, "each stage of an open loop has its own"},
		{"in_flight", l.InFlight != 0 && !l.Open(), "each stage of a closed loop has its own"},
	} {
		if top.given || top.name != "in_flight" && c.Has("load."+top.name) {
			c.add("load."+top.name, "cannot stand beside stages; %s", top.where)
		}
	}
	if len(l.Stages) > maxStages {
		c.add("load.stages", "are %d; there can be at most %d", len(l.Stages), maxStages)
		return
	}
	captured := -1
	for i, s := range l.Stages {
		field := fmt.Sprintf("load.stages[%d]", i)
		c.number(field+".in_flight", s.InFlight, 1, maxInFlight)
		c.rate(field+".rate", s.Rate)
		c.between(field+".ramp", s.Ramp, 0, maxWindow)
		c.between(field+".hold", s.Hold, 0, maxWindow)
		switch {
		case s.InFlight == 0 && s.Rate == 0:
			if !c.Has(field + ".in_flight") {
				c.add(field, "has no level; give it in_flight (closed loop) or rate (open loop)")
			}
		case s.InFlight != 0 && s.Rate != 0:
			c.add(field, "has in_flight and rate; a stage of a closed loop has in_flight, one of an open loop rate")
		case l.Open() != (s.Rate != 0):
			c.add(field, "is of another loop than the stages before it; give all of them in_flight (closed loop) or all of them rate (open loop)")
		}
		if s.Capture && captured >= 0 {
			c.add(field+".capture", "is true, as it is in stages[%d]; the window begins in one of them", captured)
		} else if s.Capture {
			captured = i
		}
		if s.Ramp == 0 && s.Hold == 0 && i != l.Captured() && i != len(l.Stages)-1 {
			c.add(field, "takes no time; give it a ramp or a hold")
		}
	}
}

// bounds checks what must not exceed what, in a plan whose defaults are filled in.
func (c *checker) bounds(l LoadPlan) {
	if total := span(l.Stages); total > maxPlan {
		c.add("load.stages", "take %s together; it must be at most %s", total, maxPlan)
	}
	most, bound := l.Peak(), "the most in flight"
	if l.Open() {
		bound = "at_most"
		if l.AtMost < l.InFlight {
			c.add("load.at_most", "is %d; it must be at least in_flight, which is %d", l.AtMost, l.InFlight)
		}
	}
	if l.Connections != 0 && l.Connections < most && l.Protocol == HTTP1 {
		c.add("load.connections", "is %d; it must be at least %s, which is %d: HTTP/1.1 carries one request a connection at a time", l.Connections, bound, most)
	}
	level, what := l.InFlight, "in_flight of the captured stage"
	if l.Open() {
		level, what = l.AtMost, "at_most"
	} else if len(l.Stages) == 1 {
		what = "in_flight"
	}
	if l.Workers > level {
		c.add("load.workers", "is %d; it must not exceed %s, which is %d", l.Workers, what, level)
	}
}

func (c *checker) from(list []string) {
	if c.Has("load.from") && len(list) == 0 {
		c.add("load.from", "is empty; list addresses of this machine, such as 127.0.0.1, or remove it")
	}
	if len(list) > maxFrom {
		c.add("load.from", "has %d addresses; there can be at most %d", len(list), maxFrom)
		return
	}
	seen := map[netip.Addr]bool{}
	var first netip.Addr
	for i, text := range list {
		field := fmt.Sprintf("load.from[%d]", i)
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Is4In6():
			c.add(field, "%q is not an IP address of this machine, such as 127.0.0.1 or ::1", text)
			continue
		case seen[addr]:
			c.add(field, "%s is listed twice", text)
		case first.IsValid() && first.Is4() != addr.Is4():
			c.add(field, "%s is not of the kind of %s; a server is reached by IPv4 or by IPv6", text, first)
		}
		if !first.IsValid() {
			first = addr
		}
		seen[addr] = true
	}
}

func (c *checker) requests(l LoadPlan) {
	names := slices.Sorted(maps.Keys(l.Values))
	for _, name := range names {
		field := "load.values." + name
		switch {
		case !valuesPattern.MatchString(name):
			c.add("load.values", "%q is not a name of values; use a lower-case letter, then lower-case letters, digits and _", name)
			continue
		case slices.Contains(requestWords(), name):
			c.add(field, "the placeholder {%s} has a meaning of its own; choose another name", name)
		}
		file := l.Values[name]
		c.fileName(field, file)
		if file != "" && !isText(file) && !isCSV(file) {
			c.add(field, "%q must end in .txt (a value on each line) or .csv (with names of columns on the first line)", file)
		}
	}
	if l.Targets != "" || c.Has("load.targets") {
		c.fileName("load.targets", l.Targets)
		if len(l.Requests) > 0 {
			c.add("load.targets", "is given, and requests too; remove one of them")
		}
		if len(names) > 0 {
			c.add("load.values", "has no meaning with targets, which are sent as they stand in their file")
		}
	}
	weights := 0
	for i, r := range l.Requests {
		c.request(fmt.Sprintf("load.requests[%d]", i), r, l.Values)
		weights += r.Weight
	}
	if weights > maxWeights {
		c.add("load.requests", "have weights of %d together; it must be at most %d", weights, maxWeights)
	}
}

func (c *checker) fileName(field, name string) {
	if name == "" || strings.ContainsRune(name, 0) {
		c.add(field, "%q is not the path of a file", name)
	}
}

func (c *checker) request(field string, r Request, values map[string]string) {
	if r.Method != "" {
		c.oneOf(field+".method", "method", r.Method, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
	}
	if r.Path == "" {
		c.add(field+".path", "is missing; say what to ask for, such as /")
	} else {
		c.path(field+".path", r.Path)
	}
	texts := map[string]string{field + ".path": r.Path, field + ".body": r.Body}
	for name, value := range r.Header {
		texts[field+".header."+name] = value
		if !headerPattern.MatchString(name) || strings.ContainsAny(value, "\r\n\x00") {
			c.add(field+".header", "%q is not a header that HTTP can send", name)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(texts)) {
		c.requestText(at, texts[at], values, at == field+".body")
	}
	if r.Weight < 0 || r.Weight > maxWeight {
		c.add(field+".weight", "is %d; it must be between 1 and %d", r.Weight, maxWeight)
	}
}

// requestText reports placeholders that nothing can be put in place of. Braces
// are common in bodies: there they are text, unless the word is nearly a placeholder.
func (c *checker) requestText(field, text string, values map[string]string, body bool) {
	names := append(requestWords(), slices.Sorted(maps.Keys(values))...)
	for _, m := range requestPlaceholder.FindAllStringSubmatch(text, -1) {
		file, isValue := values[m[1]]
		switch {
		case !slices.Contains(names, m[1]):
			if !body || strictyaml.Nearest(m[1], names) != "" {
				c.placeholders(requestPlaceholder, field, m[0], names...)
			}
		case !isValue && m[2] != "":
			c.add(field, "the placeholder %s has a column, which only values from a .csv file have", m[0]).Hint = "{" + m[1] + "}"
		case isText(file) && m[2] != "":
			c.add(field, "the placeholder %s has a column, and %q has none", m[0], file).Hint = "{" + m[1] + "}"
		case isCSV(file) && m[2] == "":
			c.add(field, "the placeholder %s names no column of %q; write one behind a dot, such as {%s.id}", m[0], file, m[1])
		}
	}
}

func isText(file string) bool { return strings.EqualFold(filepath.Ext(file), ".txt") }
func isCSV(file string) bool  { return strings.EqualFold(filepath.Ext(file), ".csv") }

func (c *checker) clients(l LoadPlan) {
	if len(l.Clients) > maxClients {
		c.add("load.clients", "are %d kinds; there can be at most %d", len(l.Clients), maxClients)
		return
	}
	var together Share
	for i, client := range l.Clients {
		field := fmt.Sprintf("load.clients[%d]", i)
		c.client(field, client)
		together += client.Share
		hasBody := func(r Request) bool { return r.Body != "" }
		if client.Sends != 0 && l.Targets == "" && !slices.ContainsFunc(l.Requests, hasBody) {
			c.add(field+".sends", "is how fast a body is sent, and no request has one; give a request a body")
		}
	}
	if together > 100+shareTolerance {
		c.add("load.clients", "have %s of the requests together; it must be at most 100%%", together)
	}
}

func (c *checker) client(field string, client Client) {
	if client.Share == 0 {
		c.add(field+".share", "is missing; say how many of the requests such a client sends, such as 2%%")
	}
	var ways []string
	for _, way := range []struct {
		name string
		zero bool
	}{
		{"reads", client.Reads == 0}, {"stops_reading_after", client.StopsReadingAfter == 0},
		{"sends", client.Sends == 0}, {"hangs_up_after", client.HangsUpAfter == 0},
	} {
		if !way.zero || c.Has(field+"."+way.name) {
			ways = append(ways, way.name)
		}
	}
	switch {
	case len(ways) == 0:
		c.add(field, "behaves well; give it one of reads, stops_reading_after, sends, hangs_up_after")
	case len(ways) > 1:
		c.add(field, "behaves badly in more than one way (%s); give each a client of its own", strings.Join(ways, ", "))
	case ways[0] == "stops_reading_after" && client.StopsReadingAfter == 0:
		c.add(field+".stops_reading_after", "is 0B; it must be at least 1B")
	case ways[0] == "hangs_up_after" && (client.HangsUpAfter < Duration(time.Millisecond) || client.HangsUpAfter > maxWindow):
		c.add(field+".hangs_up_after", "is %s; it must be between %s and %s", client.HangsUpAfter, Duration(time.Millisecond), maxWindow)
	}
}

func (c *checker) process(p Process) {
	c.number("load.process.gomaxprocs", p.GOMAXPROCS, 1, maxProcs)
	c.number("load.process.gogc", p.GOGC, 1, maxGOGC)
	if (p.Memory != 0 || c.Has("load.process.memory")) && (p.Memory < minMemory || p.Memory > maxMemory) {
		c.add("load.process.memory", "is %s; it must be between %s and %s", p.Memory, minMemory, maxMemory)
	}
}

// tls checks how the certificate of a server is checked.
func (c *checker) tls(t Target) {
	if t.TLS == nil {
		return
	}
	if t.URL != "" && !isHTTPS(t.URL) {
		c.add("target.tls", "is given, and the URL does not begin with https://; change one of them")
	}
	if c.Has("target.tls.ca") || t.TLS.CA != "" {
		c.fileName("target.tls.ca", t.TLS.CA)
	}
	if t.TLS.CA != "" && !t.TLS.Verify {
		c.add("target.tls.ca", "has no meaning with verify: false; remove one of them")
	}
	name := t.TLS.ServerName
	if (name != "" || c.Has("target.tls.server_name")) && !serverNamePattern.MatchString(name) {
		c.add("target.tls.server_name", "%q is not the name of a server, such as shop.test", name)
	}
}

var serverNamePattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,253}$`)

func isHTTPS(url string) bool {
	scheme, _, found := strings.Cut(url, "://")
	return found && strings.EqualFold(scheme, "https")
}

// checkFiles reports the files that the scenario names and that cannot be read.
func (s *Scenario) checkFiles() error {
	files := map[string]string{}
	if s.Load.Targets != "" {
		files["load.targets"] = s.Load.Targets
	}
	for name, file := range s.Load.Values {
		files["load.values."+name] = file
	}
	if s.Target.TLS != nil && s.Target.TLS.CA != "" {
		files["target.tls.ca"] = s.Target.TLS.CA
	}
	var problems []*strictyaml.Error
	for _, field := range slices.Sorted(maps.Keys(files)) {
		if err := readable(s.Path(files[field])); err != nil {
			problems = append(problems, s.errorf(field, "%q cannot be read: %s; it is relative to the scenario file", files[field], err))
		}
	}
	return strictyaml.Join(problems)
}
