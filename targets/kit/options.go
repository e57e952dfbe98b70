package kit

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Variant is one of the two forms of a lab target.
type Variant string

// The variants.
const (
	Flawed Variant = "flawed"
	Fixed  Variant = "fixed"
)

// Options is what the command line says to a target's Build. Its values have
// been checked. Asking for a knob that the Service does not name, or as
// another kind than its default has, is a mistake in the target and panics.
type Options struct {
	Variant Variant
	knobs   map[string]knob
}

// NewOptions gives the options of variant for s, as -set flags would: each
// setting is "name=value". Errors are those of the command line.
func NewOptions(s Service, variant Variant, settings ...string) (Options, error) {
	if variant != Flawed && variant != Fixed {
		return Options{}, fmt.Errorf("-variant %q: use %s or %s", variant, Flawed, Fixed)
	}
	o := Options{Variant: variant, knobs: make(map[string]knob, len(s.Knobs))}
	for name, def := range s.Knobs {
		o.knobs[name] = newKnob(def)
	}
	for _, setting := range settings {
		if err := o.set(setting); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

// Flawed reports whether the flawed variant is asked for.
func (o Options) Flawed() bool { return o.Variant == Flawed }

// Duration returns a knob whose default is a duration.
func (o Options) Duration(name string) time.Duration { return value[time.Duration](o, name) }

// Int returns a knob whose default is a whole number.
func (o Options) Int(name string) int { return value[int](o, name) }

// Bytes returns a knob whose default is a size, in bytes.
func (o Options) Bytes(name string) int { return int(value[size](o, name)) }

// Bool returns a knob whose default is true or false.
func (o Options) Bool(name string) bool { return value[bool](o, name) }

// String returns a knob whose default is text or a choice of words.
func (o Options) String(name string) string { return value[string](o, name) }

func value[T any](o Options, name string) T {
	k, ok := o.knobs[name]
	if !ok {
		panic(fmt.Sprintf("kit: the service has no knob %q", name))
	}
	v, ok := k.value.(T)
	if !ok {
		panic(fmt.Sprintf("kit: knob %q is %s", name, k.kind))
	}
	return v
}

// set applies one "name=value".
func (o Options) set(setting string) error {
	name, text, ok := strings.Cut(setting, "=")
	if !ok {
		return fmt.Errorf("-set %q: write it as name=value", setting)
	}
	k, ok := o.knobs[name]
	if !ok {
		if len(o.knobs) == 0 {
			return fmt.Errorf("-set %s: unknown knob %q: this target has none", setting, name)
		}
		known := strings.Join(slices.Sorted(maps.Keys(o.knobs)), ", ")
		return fmt.Errorf("-set %s: unknown knob %q: known are %s", setting, name, known)
	}
	v, err := k.parse(text)
	if err != nil {
		return fmt.Errorf("-set %s: %s takes %s", setting, name, k.kind)
	}
	k.value = v
	o.knobs[name] = k
	return nil
}

// size is a number of bytes.
type size int

// knob is one setting with the kind that its default settled.
type knob struct {
	kind  string // for messages: "a duration such as 2500ms"
	parse func(text string) (any, error)
	value any
}

func newKnob(def string) knob {
	kinds := []knob{
		{kind: "a whole number, 0 or more", parse: parseInt},
		{kind: "a duration such as 2500ms, 0s or more", parse: parseDuration},
		{kind: "a size such as 16KiB", parse: parseSize},
		{kind: "true or false", parse: parseBool},
	}
	for _, k := range kinds {
		if v, err := k.parse(def); err == nil {
			k.value = v
			return k
		}
	}
	if words := strings.Split(def, "|"); len(words) > 1 {
		return knob{
			kind:  "one of " + strings.Join(words, ", "),
			value: words[0],
			parse: func(text string) (any, error) {
				if !slices.Contains(words, text) {
					return nil, errKind
				}
				return text, nil
			},
		}
	}
	return knob{kind: "text", value: def, parse: func(text string) (any, error) { return text, nil }}
}

// errKind says that a text is not a value of a knob's kind; the kind itself
// tells what would be.
var errKind = errors.New("not a value of this kind")

func parseInt(text string) (any, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, errKind
	}
	return n, nil
}

func parseDuration(text string) (any, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return nil, errKind
	}
	return d, nil
}

func parseBool(text string) (any, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, errKind
}

func parseSize(text string) (any, error) {
	// Longest unit first: each ends in B.
	units := []struct {
		suffix string
		bytes  int
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > (1<<40)/u.bytes {
			return nil, errKind
		}
		return size(n * u.bytes), nil
	}
	return nil, errKind
}

// config is a parsed command line.
type config struct {
	listen, debug string
	beside        time.Duration // CPU time of other work in each request
	options       Options
}

// errHelp says that the usage was asked for and has been printed.
var errHelp = flag.ErrHelp

// parse reads the command line. It prints nothing but the usage, when that is
// asked for.
func parse(s Service, args []string, usage io.Writer) (config, error) {
	var cfg config
	var variant string
	var settings []string
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.listen, "listen", "", "`HOST:PORT` to serve on (port 0 takes a free one)")
	flags.StringVar(&cfg.debug, "debug", "", "`HOST:PORT` for /debug/pprof/ and /debug/metrics")
	flags.StringVar(&variant, "variant", "", "`flawed` or fixed")
	flags.DurationVar(&cfg.beside, "beside", 0, "CPU `time` of other, healthy work before each request's own")
	flags.Func("set", "`name=value` of a knob; may be repeated", func(setting string) error {
		settings = append(settings, setting)
		return nil
	})

	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(usage, s, flags)
		}
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q: everything is set by flags (-h lists them)", flags.Arg(0))
	}
	for _, required := range []struct{ flag, value, want string }{
		{"-listen", cfg.listen, "the address to serve on, such as 127.0.0.1:8080"},
		{"-debug", cfg.debug, "the address of the debug endpoints, such as 127.0.0.1:6060"},
		{"-variant", variant, "flawed or fixed"},
	} {
		if required.value == "" {
			return config{}, fmt.Errorf("%s is missing: give %s", required.flag, required.want)
		}
	}
	if cfg.beside < 0 || cfg.beside > time.Second {
		return config{}, fmt.Errorf("-beside %s: it is between 0s and 1s", cfg.beside)
	}
	var err error
	cfg.options, err = NewOptions(s, Variant(variant), settings...)
	return cfg, err
}

func printUsage(w io.Writer, s Service, flags *flag.FlagSet) {
	fmt.Fprintf(w, "%s\n\nFlags:\n", s.About)
	flags.SetOutput(w)
	flags.PrintDefaults()
	if len(s.Knobs) == 0 {
		return
	}
	fmt.Fprintf(w, "\nKnobs (-set name=value), with their defaults:\n")
	for _, name := range slices.Sorted(maps.Keys(s.Knobs)) {
		fmt.Fprintf(w, "  %s=%s\n", name, s.Knobs[name])
	}
}
