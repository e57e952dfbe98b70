package corpus_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/exp/trace"

	"chokepoint/harness/bundle"
	"chokepoint/harness/cli"
	"chokepoint/harness/corpus"
	"chokepoint/harness/gofunc"
	"chokepoint/harness/rule"
	"chokepoint/harness/scenario"
	"chokepoint/reports"
)

// conclusions are what a diagnosis says, ground truth and verdict left out.
type conclusions struct {
	Findings []rule.Finding `json:"findings"`
	Unknown  []rule.Unknown `json:"unknown"`
	Silent   []string       `json:"silent"`
}

func conclude(d reports.Document) conclusions { return conclusions{d.Findings, d.Unknown, d.Silent} }

// TestDiagnosisDoesNotPeek proves that the answer comes out of the evidence:
// without the ground truth, with a false one, with every name of the target
// another, the findings are the same. It takes most of a second a recording, and
// what could break it is code rather than a recording: a sample is tried, a flaw
// of each cause among them, and all of them with -all.
func TestDiagnosisDoesNotPeek(t *testing.T) {
	for _, r := range sample(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			original := read(t, r)
			want := text(t, conclude(analyze(t, r.Path)))

			t.Run("without scenario.json", func(t *testing.T) {
				c := original.clone()
				delete(c.artifacts, bundle.ScenarioFile)
				doc := analyze(t, c.write(t))
				assert.Nil(t, doc.Verdict, "nobody knows the truth")
				assert.Equal(t, string(want), string(text(t, conclude(doc))))
			})
			t.Run("with the scenario of something else", func(t *testing.T) {
				c := original.clone()
				c.artifacts[bundle.ScenarioFile] = falseTruth(t, c.artifacts[bundle.ScenarioFile])
				assert.Equal(t, string(want), string(text(t, conclude(analyze(t, c.write(t))))))
			})
			t.Run("with every name of the target another", func(t *testing.T) {
				c := original.clone()
				names := c.rename(t)
				dir := c.write(t)
				doc := analyze(t, dir)
				got := text(t, conclude(doc))
				if len(doc.Findings) > 0 {
					assert.NotEqual(t, string(want), string(got), "renaming reached the findings")
				}
				assert.Equal(t, string(want), names.undo(string(got)))
				assert.Equal(t, signals(t, r.Path), names.undo(signals(t, dir)), "not even what was measured differs")
			})
			t.Run("with the manifest in another order", func(t *testing.T) {
				dir := original.write(t)
				shuffleManifest(t, dir)
				assert.Equal(t, string(want), string(text(t, conclude(analyze(t, dir)))))
			})
		})
	}
}

// healthySampled is how many healthy recordings are in a sample.
const healthySampled = 6

// sample is a flawed recording of each cause and some healthy ones, always the
// same; every recording with -all.
func sample(t *testing.T) []corpus.Recording {
	t.Helper()
	if *all {
		return corpus.Bundles(t)
	}
	by := map[string][]corpus.Recording{}
	for _, r := range corpus.Bundles(t) {
		cause := ""
		if r.Flawed {
			cause = groundTruth(t, r).Truth[0].Cause
		}
		by[cause] = append(by[cause], r)
	}
	var picked []corpus.Recording
	for _, cause := range slices.Sorted(maps.Keys(by)) {
		n := 1
		if cause == "" {
			n = healthySampled
		}
		picked = append(picked, corpus.Sample(by[cause], n)...)
	}
	return picked
}

// signals is what `chokepoint signals --json` says of a bundle.
func signals(t *testing.T, path string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Equal(t, cli.ExitPass, cli.Main([]string{"signals", "--json", path}, &stdout, &stderr), stderr.String())
	return stdout.String()
}

// contents is a bundle in memory.
type contents struct {
	manifest  bundle.Manifest
	artifacts map[string][]byte // scenario.json among them
}

func read(t *testing.T, r corpus.Recording) contents {
	t.Helper()
	b := r.Open(t)
	c := contents{b.Manifest(), map[string][]byte{}}
	for _, a := range c.manifest.Artifacts {
		data, err := b.Evidence().ReadFile(a.Path)
		if a.Path == bundle.ScenarioFile {
			data, err = b.GroundTruth()
		}
		require.NoError(t, err)
		c.artifacts[a.Path] = data
	}
	return c
}

func (c contents) clone() contents {
	return contents{c.manifest, maps.Clone(c.artifacts)}
}

// write makes a bundle directory of it, with checksums that hold.
func (c contents) write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	w, err := bundle.Create(dir, c.manifest)
	require.NoError(t, err)
	for name, data := range c.artifacts {
		require.NoError(t, w.WriteFile(name, data))
	}
	require.NoError(t, w.Finish())
	return dir
}

// falseTruth makes of a scenario.json another, of another scenario: name,
// variant, target, knobs and expectation are all untrue.
func falseTruth(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := scenario.ReadResolved(data)
	require.NoError(t, err)
	other := scenario.Fixed
	if r.Variant == scenario.Fixed {
		other = scenario.Flawed
	}
	r.Variant, r.Scenario.Target.Variant = other, other
	r.Scenario.Name = "goroutine-leak/of-another-kind"
	r.Scenario.About = "Something else entirely."
	r.Scenario.Target.Package, r.Scenario.Target.Command = "./targets/other", nil
	r.Scenario.Target.Knobs = map[string]string{"size": "1"}
	r.Scenario.Expect.NearMissOf = nil
	r.Scenario.Expect.Findings = []scenario.ExpectedFinding{{Cause: "goroutine-leak", At: "main.other"}}
	r.Truth = []scenario.Truth{{Cause: "goroutine-leak", Function: "main.other", File: "other.go", Line: 1}}
	out, err := json.Marshal(r)
	require.NoError(t, err)
	_, err = scenario.ReadResolved(out)
	require.NoError(t, err, "it is false, not broken")
	return out
}

// shuffleManifest lists artifacts and dimensions in another order.
func shuffleManifest(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, bundle.ManifestFile)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var m bundle.Manifest
	require.NoError(t, json.Unmarshal(data, &m))
	random := rand.New(rand.NewPCG(1, 2)) // always the same
	random.Shuffle(len(m.Artifacts), func(i, j int) { m.Artifacts[i], m.Artifacts[j] = m.Artifacts[j], m.Artifacts[i] })
	random.Shuffle(len(m.Dimensions), func(i, j int) { m.Dimensions[i], m.Dimensions[j] = m.Dimensions[j], m.Dimensions[i] })
	shuffled, err := json.Marshal(m)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, shuffled, 0o644))
}

// names maps what the target's functions and files are called to what they are
// called after renaming.
type names map[string]string

// rename gives the target another module path, and each of its functions, types
// and files another name of the same length, in all artifacts alike. What is
// recorded and what no signal may use (the requests as sent) is taken out.
func (c *contents) rename(t *testing.T) names {
	t.Helper()
	module := c.manifest.Target.MainModule
	require.NotEmpty(t, module)
	delete(c.artifacts, bundle.ScenarioFile)
	delete(c.artifacts, bundle.LoadResults)

	n := names{module: rot13(module)}
	var sites bundle.CallSites
	require.NoError(t, json.Unmarshal(c.artifacts[bundle.TargetCallSites], &sites))
	for _, s := range sites.Sites {
		n.add(module, s.Function, s.File)
	}
	profiles := map[string]*profile.Profile{}
	for name, data := range c.artifacts {
		if strings.HasSuffix(name, ".pb.gz") {
			p, err := profile.ParseData(data)
			require.NoError(t, err, name)
			profiles[name] = p
			for _, f := range p.Function {
				n.add(module, f.Name, f.Filename)
			}
		}
	}
	n.addTrace(t, module, c.artifacts[bundle.TraceOut])
	// Stacks of the kernel's view that are no profiles.
	var cuts *bundle.Cuts
	var slow *bundle.SlowCalls
	var stacks [][]bundle.Frame
	if data, ok := c.artifacts[bundle.EBPFCuts]; ok {
		require.NoError(t, json.Unmarshal(data, &cuts))
		stacks = append(stacks, cuts.Stacks...)
	}
	if data, ok := c.artifacts[bundle.EBPFSlow]; ok {
		require.NoError(t, json.Unmarshal(data, &slow))
		stacks = append(stacks, slow.Stacks...)
	}
	for _, s := range stacks {
		for _, f := range s {
			n.add(module, f.Function, f.File)
		}
	}
	require.Greater(t, len(n), 8, "functions and files of the target were found")

	for i := range sites.Sites {
		s := &sites.Sites[i]
		s.Function, s.File = n.of(s.Function), n.of(s.File)
		s.Callee = n.of(s.Callee) // it may be the program's own
	}
	var err error
	c.artifacts[bundle.TargetCallSites], err = json.Marshal(sites)
	require.NoError(t, err)
	for _, s := range stacks {
		for i := range s {
			s[i].Function, s[i].File = n.of(s[i].Function), n.of(s[i].File)
		}
	}
	if cuts != nil {
		c.artifacts[bundle.EBPFCuts], err = json.Marshal(cuts)
		require.NoError(t, err)
	}
	if slow != nil {
		c.artifacts[bundle.EBPFSlow], err = json.Marshal(slow)
		require.NoError(t, err)
	}
	for name, p := range profiles {
		for _, f := range p.Function {
			f.Name, f.SystemName, f.Filename = n.of(f.Name), n.of(f.SystemName), n.of(f.Filename)
		}
		for _, m := range p.Mapping {
			m.File, m.BuildID = "target", ""
		}
		var b bytes.Buffer
		require.NoError(t, p.Write(&b))
		c.artifacts[name] = b.Bytes()
	}
	c.artifacts[bundle.TraceOut] = n.ofTrace(c.artifacts[bundle.TraceOut])
	c.manifest.Target.MainModule = n.of(module)
	c.manifest.Target.SHA256 = ""

	c.holdNone(t, module, n)
	return n
}

// add enters a function and its file if they are the target's.
func (n names) add(module, function, file string) {
	pkg := gofunc.Package(function)
	if pkg == module+"/mark" {
		return // a library of this project, whose name means what it says
	}
	if pkg != "main" && pkg != module && !strings.HasPrefix(pkg, module+"/") {
		if !strings.Contains(function, "[") {
			return
		}
		// A generic function of a library bears the target's types as arguments.
		own := regexp.MustCompile(`\bmain\.\w+|\b` + regexp.QuoteMeta(module) + `/[\w/]+\.\w+`)
		if to := own.ReplaceAllStringFunc(function, renamed); to != function {
			n[function] = to
		}
		return
	}
	n[function] = renamed(function)
	if base, ok := strings.CutSuffix(file, ".go"); ok {
		n[file] = rot13(base) + ".go"
	}
}

// given are the parts of a function's name that the Go toolchain gives: the
// package and function main, closures, and what wraps a method.
var given = regexp.MustCompile(`^main\.(main\b|init\b)?|\.(func|gowrap|deferwrap)\d+|-fm|-range\d+|\.\.\.`)

// renamed is the function's name with all letters changed that its author chose.
func renamed(function string) string {
	var b strings.Builder
	at := 0
	for _, span := range given.FindAllStringIndex(function, -1) {
		b.WriteString(rot13(function[at:span[0]]))
		b.WriteString(function[span[0]:span[1]])
		at = span[1]
	}
	b.WriteString(rot13(function[at:]))
	return b.String()
}

// rot13 changes every letter of a name, keeping its length and which letters
// are capitals: what is exported stays so.
func rot13(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return 'a' + (r-'a'+13)%26
		case 'A' <= r && r <= 'Z':
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, s)
}

func (n names) of(name string) string {
	if to, ok := n[name]; ok {
		return to
	}
	return name
}

func (n names) addTrace(t *testing.T, module string, data []byte) {
	t.Helper()
	r, err := trace.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	seen := map[trace.Stack]bool{}
	for {
		ev, err := r.ReadEvent()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		stacks := []trace.Stack{ev.Stack()}
		if ev.Kind() == trace.EventStateTransition {
			stacks = append(stacks, ev.StateTransition().Stack)
		}
		for _, s := range stacks {
			if s == trace.NoStack || seen[s] {
				continue
			}
			seen[s] = true
			for f := range s.Frames() {
				n.add(module, f.Func, f.File)
			}
		}
	}
}

// ofTrace changes the trace's strings, each of which stands behind its length:
// nothing else in the trace is touched.
func (n names) ofTrace(data []byte) []byte {
	out := bytes.Clone(data)
	for from, to := range n {
		length := binary.AppendUvarint(nil, uint64(len(from)))
		out = bytes.ReplaceAll(out, append(bytes.Clone(length), from...), append(bytes.Clone(length), to...))
	}
	return out
}

// holdNone holds that no name is left anywhere in the bundle: that the renaming
// was one. The kernel's frames may name Chokepoint's own probes.
func (c contents) holdNone(t *testing.T, module string, n names) {
	t.Helper()
	for name, data := range c.artifacts {
		if strings.HasSuffix(name, ".pb.gz") {
			p, err := profile.ParseData(data)
			require.NoError(t, err)
			var raw bytes.Buffer // which holds each of its strings once
			require.NoError(t, p.WriteUncompressed(&raw))
			data = raw.Bytes()
		}
		data = bytes.ReplaceAll(data, []byte(module+"/mark."), nil) // which keeps its name
		for from, to := range n {
			if from == module {
				from += "/"
			}
			if at := bytes.Index(data, []byte(from)); from != to && at >= 0 {
				require.Failf(t, "a name is left", "%s still names %s: %q", name, from, data[max(0, at-40):min(len(data), at+80)])
			}
		}
	}
}

// undo gives names their old form back in the text of a diagnosis, which shows
// functions without closures and files without folders too.
func (n names) undo(s string) string {
	back := map[string]string{}
	for from, to := range n {
		if from == to {
			continue
		}
		back[to] = from
		if strings.HasSuffix(from, ".go") {
			back[path.Base(to)] = path.Base(from)
			continue
		}
		for _, form := range []func(string) string{gofunc.Base, gofunc.Short, gofunc.Printed} {
			back[form(to)] = form(from)
		}
	}
	// The longest first: a name may begin with another.
	order := slices.SortedFunc(maps.Keys(back), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, to := range order {
		pairs = append(pairs, to, back[to])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}
